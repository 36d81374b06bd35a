"""The empty database of each kind, on which checks must fail: it is up, with nothing in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clusters import place

from drctl.clock import SystemClock
from drctl.engines import engine
from drctl.engines.base import Standing, Surroundings
from drctl.errors import TargetRefused
from drctl.events import Silent


@contextmanager
def empty(kind: str, **settings: Any) -> Iterator[Standing]:
    found = engine(kind)
    assert found.hollow
    given = found.settings(**settings)
    with place() as top:
        around = Surroundings(SystemClock(), Silent(), str(top), str(top))
        at = str(top / "empty")
        found.hollow(given, at, around)
        with found.probe(given, at, around).open() as standing:
            yield standing
        assert [path.name for path in Path(top).iterdir()] == ["empty"]


def test_an_empty_postgres_has_the_plans_database_and_no_table() -> None:
    with empty("postgres", dbname='sh"op', host="/nowhere") as standing:
        assert standing.query("select current_database()") == (('sh"op',),)
        assert standing.counts() == {}
        assert standing.newest_mark_ns() is None
        with pytest.raises(TargetRefused, match="does not exist"):
            standing.query("select count(*) from orders")


def test_an_empty_mariadb_answers_and_has_no_table() -> None:
    with empty("mariadb", host="/nowhere") as standing:
        assert standing.query("select 1") == (("1",),)
        assert standing.counts() == {}
        assert standing.newest_mark_ns() is None
        with pytest.raises(TargetRefused, match="doesn't exist"):
            standing.query("select count(*) from app.orders")


def test_an_empty_redis_answers_and_has_no_key() -> None:
    with empty("redis", host="/nowhere") as standing:
        assert standing.query("dbsize") == (("0",),)
        assert standing.health().ok
        assert standing.counts() == {}
        assert standing.newest_mark_ns() is None
