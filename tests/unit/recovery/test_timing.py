"""Where the time went, from the states of the steps alone."""

from types import MappingProxyType

import pytest
from msgspec.structs import replace

from drctl.ops.recovery.graph import Step, graph
from drctl.ops.recovery.judge import Tolerated, rta
from drctl.ops.recovery.state import State, StepState
from drctl.ops.recovery.timing import merged, timing

S = 10**9


def state(**times: tuple[float, float]) -> State:
    made = {
        name.replace("_", "."): StepState("done", 1, int(a * S), int(a * S), int(b * S))
        for name, (a, b) in times.items()
    }
    return State(MappingProxyType(made), began_ns=1 * S, ending="done")


STEPS = graph(
    [
        Step("ok", "approval"),
        Step("a", "restore", after=("ok",)),
        Step("b", "restore"),
        Step("p", "prove", after=("a", "b")),
        Step("tail", "run", after=("p",), on_failure="continue"),
    ],
    "drill",
)
SWITCHED = graph(
    [
        Step("p", "prove"),
        Step("ok", "approval", after=("p",)),
        Step("dns", "run", after=("ok",)),
        Step("told", "notify", after=("dns",)),
    ],
    "drill",
)


def test_machine_and_human_time_are_told_apart() -> None:
    at = state(ok=(2, 10), b=(2, 4), a=(10, 13), p=(13, 14), tail=(14, 99))
    found = timing(STEPS, at)
    assert found.rta_seconds == 13  # to the last required step, not to the end
    assert found.human_seconds == 6  # from 4, when the machine had nothing left to do, to 10
    assert found.machine_seconds == 7
    assert found.prepare_seconds == 1
    assert found.restore_seconds == 5


def test_the_critical_path_says_what_each_step_would_save() -> None:
    at = state(ok=(1, 2), b=(1, 7), a=(2, 8), p=(8, 9), tail=(9, 10))
    found = timing(STEPS, at)
    assert [s.name for s in found.critical] == ["ok", "a", "p"]
    saved = {s.name: s.saves_seconds for s in found.critical}
    assert saved == {"ok": 1, "a": 1, "p": 1}  # without a, b would be what is waited for


def test_a_check_that_did_not_pass_leaves_the_time_unknown() -> None:
    at = state(ok=(1, 2), a=(2, 3), b=(2, 3), p=(3, 4), tail=(4, 5))
    steps = {**at.steps, "p": StepState("failed", 1, 3 * S, 3 * S, 4 * S)}
    found = timing(STEPS, State(MappingProxyType(steps), began_ns=S))
    assert found.rta_seconds is None


def test_what_users_wait_for_behind_the_last_proof_counts() -> None:
    at = state(p=(1, 2), ok=(2, 9), dns=(9, 11), told=(11, 99))
    found = timing(SWITCHED, at)
    assert found.rta_seconds == 10
    assert (found.human_seconds, found.machine_seconds) == (7, 3)
    assert [s.name for s in found.critical] == ["p", "ok", "dns"]


def test_a_program_behind_the_last_proof_that_failed_leaves_the_time_unknown() -> None:
    at = state(p=(1, 2), ok=(2, 3), dns=(3, 4), told=(4, 5))
    steps = {**at.steps, "dns": StepState("failed", 1, 3 * S, 3 * S, 4 * S)}
    assert timing(SWITCHED, State(MappingProxyType(steps), began_ns=S)).rta_seconds is None


@pytest.mark.parametrize(
    ("given", "due"),
    [([(1, 3), (2, 5)], [(1, 5)]), ([(4, 5), (1, 2)], [(1, 2), (4, 5)]), ([], [])],
)
def test_stretches_of_time_are_counted_once(given, due) -> None:
    assert merged(given) == due


def test_a_clock_that_was_set_back_leaves_the_time_unknown() -> None:
    at = state(ok=(2, 10), b=(2, 4), a=(10, 13), p=(13, 14), tail=(14, 15))
    at = replace(at, began_ns=20 * S)
    found = timing(STEPS, at)
    assert found.rta_seconds is None
    assert found.machine_seconds == 0  # -13 would not read as evidence
    due = Tolerated(60.0, {}, {"x": 60.0})
    made = graph([Step("p", "prove", asset="x")], "drill")
    judged = rta(made, replace(state(p=(13, 14)), began_ns=20 * S), found, due)
    assert [j.answer for j in judged] == ["unknown", "unknown"]
