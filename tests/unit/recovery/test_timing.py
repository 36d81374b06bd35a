"""Where the time went, from the states of the steps alone."""

from types import MappingProxyType

import pytest

from drctl.ops.recovery.graph import Step, graph
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
        Step("tail", "run", after=("p",)),
    ],
    "drill",
)


def test_machine_and_human_time_are_told_apart() -> None:
    at = state(ok=(2, 10), b=(2, 4), a=(10, 13), p=(13, 14), tail=(14, 99))
    found = timing(STEPS, at)
    assert found.rta_seconds == 13  # to the last required check, not to the end
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


@pytest.mark.parametrize(
    ("given", "due"),
    [([(1, 3), (2, 5)], [(1, 5)]), ([(4, 5), (1, 2)], [(1, 2), (4, 5)]), ([], [])],
)
def test_stretches_of_time_are_counted_once(given, due) -> None:
    assert merged(given) == due
