"""A SQLite database is saved as it is, however long that takes and whatever an application made."""

import json
import os
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.sqlite import ENGINE, Settings
from drctl.errors import SourceError
from drctl.events import Event, Notice
from drctl.model import Entry, Kind


class Heard(list[str]):
    """What was warned of."""

    def emit(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.append(event.text)


def saved(top: Path, **settings: str) -> tuple[dict[str, str], dict[str, int], list[str]]:
    """Facts, counts and warnings of a backup of the database there."""
    heard = Heard()
    (top / "scratch").mkdir()
    around = Surroundings(SystemClock(), heard, str(top), str(top / "scratch"))
    with ENGINE.source(Settings(path="base.db", **settings), "base", around).open() as capture:
        list(capture.items())
        return capture.facts, json.loads(capture.private_facts["counts"]), heard


def test_a_name_may_be_of_any_bytes(tmp_path: Path) -> None:
    top = tmp_path / os.fsdecode(b"M\xfcller?")
    top.mkdir()
    with closing(sqlite3.connect(top / "base.db")) as database, database:
        database.execute("create table t (v text)")
    assert saved(top)[1] == {"rows.t": 0}
    target = ENGINE.target(None, str(top / "back.db"), {}, None)
    target.put_small(Entry(b"base.db", int(Kind.FILE)), (top / "base.db").read_bytes())
    with ENGINE.probe(Settings(path="base.db"), str(top / "back.db"), None).open() as found:
        assert found.health().ok


def test_only_waiting_for_a_lock_is_limited(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "base.db")) as database, database:
        database.execute("create table t (v text)")
        database.execute("insert into t values ('row')")
    assert saved(tmp_path, timeout="0s")[1] == {"rows.t": 1}


def test_a_copy_that_finds_no_room_is_told_of_its_own_place(tmp_path: Path) -> None:
    """A limit of what this process may write stands for a disk that others filled meanwhile."""
    with closing(sqlite3.connect(tmp_path / "base.db")) as database, database:
        database.execute("create table t (v blob)")
        database.execute("insert into t values (zeroblob(4000000))")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(SourceError) as found:
            saved(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"its copy cannot be written to {tmp_path}/scratch: " in found.value.what
    assert "DRCTL_STATE_DIR" in found.value.hint
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_reference_that_fits_nothing_and_a_module_that_is_not_here_are_no_hindrance(
    tmp_path: Path,
) -> None:
    with closing(sqlite3.connect(tmp_path / "base.db")) as database, database:
        database.execute("create table parent (a int)")
        database.execute("create table child (b int references parent (a))")
        database.execute("insert into child values (1), (2)")
        database.execute("create virtual table words using fts5 (text)")
        database.execute("pragma writable_schema = on")
        database.execute("update sqlite_master set sql = replace(sql, 'fts5', 'nobodys')")
    facts, counts, heard = saved(tmp_path)
    assert facts["foreign_key_violations"] == ""
    assert "foreign keys cannot be checked" in heard[0]
    assert counts["rows.child"] == 2
    assert "rows.words" not in counts
