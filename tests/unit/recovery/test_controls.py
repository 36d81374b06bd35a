"""A check that fails where it must for another reason than it should proves nothing."""

import threading
from typing import Any

import pytest

from drctl.cli.sitegone import speak_against
from drctl.clock import SystemClock
from drctl.events import Silent
from drctl.ops.recovery.controls import Bench, Controlled, controls
from drctl.ops.recovery.graph import Step, graph, runs_programs
from drctl.ops.recovery.look import Look
from drctl.ops.recovery.looking import Eyes
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.runner import Control


@pytest.fixture
def control_of(tmp_path):
    def found(line: str, seconds: float = 60.0) -> Controlled:
        clock, nothing = SystemClock(), threading.Event()
        reader: Any = None  # a program needs none
        eyes = Eyes(reader, Programs(str(tmp_path), {}), clock, Silent())
        control = Control(clock, clock.monotonic_seconds() + seconds, nothing, seconds)
        look = Look("well: command", "command", words=("sh", "-c", line))
        step = Step("well", "check", looks=(look,), env=("TOKEN",))
        bench = Bench(eyes, control, str(tmp_path / "empty"), 7)
        (one,) = controls(graph([step], "drill"), {}, bench)
        return one

    return found


def test_a_check_that_was_cut_off_is_not_known_to_fail(control_of) -> None:
    one = control_of("sleep 60", 0.3)
    assert (one.empty, one.proves) == ("not tried", False)


def test_a_check_has_its_variables_where_it_must_fail_too(control_of, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "given")
    one = control_of('test "$TOKEN" = given')
    assert (one.empty, one.proves) == ("passed", False)
    assert control_of('test -s "$TOKEN"/a.txt').proves


def test_a_drill_with_a_check_by_a_program_runs_programs() -> None:
    look = Look("tree 1: command", "command", "tree", words=("true",))
    assert runs_programs(graph([Step("tree.proof", "prove", looks=(look,))], "drill"))
    asked = Look("tree 1: http", "http", what="http://127.0.0.1/")
    assert runs_programs(graph([Step("up", "check", looks=(asked,))], "drill"))
    plain = Look("tree: integrity", "integrity", "tree", "full")
    assert not runs_programs(graph([Step("tree.proof", "prove", looks=(plain,))], "drill"))


def test_what_is_left_on_this_side_of_a_clean_place_speaks_against_the_drill() -> None:
    document: dict[str, Any] = {"verdict": "passed", "reasons": [], "left_behind": []}
    speak_against(document, ())
    assert document["verdict"] == "passed"
    speak_against(document, ("process 7 still runs in it",))
    assert document["verdict"] == "failed"
    assert document["reasons"] == ["not torn down: process 7 still runs in it"]
