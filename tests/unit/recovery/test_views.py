"""What stands while it is checked is taken down when the run ends, whoever still asks it."""

import sqlite3
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from drctl.clock import SystemClock
from drctl.engines import sqlite
from drctl.engines.base import Standing
from drctl.errors import DrctlError, TargetRefused
from drctl.ops.recovery.asking import ask
from drctl.ops.recovery.returning import View, Views
from drctl.ops.recovery.runner import Control

ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"


@pytest.fixture
def asset(tmp_path) -> Any:
    path = str(tmp_path / "base")
    sqlite3.connect(path).close()
    settings = sqlite.Settings(path=path)
    probe = sqlite.Probe(settings, path, None)
    return SimpleNamespace(name="base", to=path, probe=probe, make_probe=lambda _: probe)


def asking(standing: Standing) -> threading.Thread:
    """A thread that asks what has no end."""

    def ask() -> None:
        with pytest.raises(TargetRefused, match="interrupted"):
            standing.query(ENDLESS)

    thread = threading.Thread(target=ask)
    thread.start()
    end = time.monotonic() + 60
    while not standing._turn.locked():
        assert time.monotonic() < end
        time.sleep(0.01)
    return thread


def test_a_database_that_was_taken_down_is_asked_nothing_more(asset) -> None:
    """Whoever waited for its turn to ask would else read from what is closed."""
    views = Views()
    view = views.open(asset)
    with view.alone():
        closing = threading.Thread(target=views.close)
        closing.start()
    closing.join()
    with pytest.raises(DrctlError, match="taken down before it was asked"), view.alone():
        pytest.fail("it was asked")
    with pytest.raises(TargetRefused, match="closed"):
        view.standing.newest_mark_ns()
    view.standing.interrupt()  # nothing is asked


def test_a_database_is_not_closed_under_a_question_that_does_not_end(asset) -> None:
    with asset.probe.open() as standing:
        thread = asking(standing)
    with pytest.raises(TargetRefused, match="the question before does not end"):
        standing.query("select 1")
    standing.interrupt()
    thread.join(10)
    assert standing.query("select 1") == (("1",),)
    standing.close()


def test_what_comes_up_when_all_is_over_is_taken_down(asset) -> None:
    views = Views()
    views.close()
    with pytest.raises(DrctlError, match="came up when all was over"):
        views.open(asset)
    assert views.get("base") is None


class Deaf:
    """A database that heeds no interrupt: its first question goes on until the test lets it end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        assert self.may_end.wait(60)
        return ((sql,),)

    def interrupt(self) -> None:
        pass


def test_while_a_question_that_was_given_up_goes_on_nothing_else_is_asked(asset) -> None:
    """Two that share a connection could be given each other's answers, and a check would pass."""
    deaf = Deaf()
    view = View(asset, asset.to, deaf, "")
    control = Control(SystemClock(), 0.0, threading.Event(), 2.0)
    with pytest.raises(DrctlError, match="did not end within 2"), view.alone():
        ask(view, control, lambda standing: standing.query("first"), last_looks=1)
    with pytest.raises(DrctlError, match="base: the question before does not end"), view.alone():
        pytest.fail("it was asked")
    deaf.may_end.set()
    assert view.unended[0].result(60) == (("first",),)  # which nobody is told
    fresh = Control(SystemClock(), float("inf"), threading.Event(), 2.0)
    with view.alone():
        assert ask(view, fresh, lambda standing: standing.query("second")) == (("second",),)
