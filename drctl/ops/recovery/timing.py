"""Where the time of a recovery went: machine and human, the critical path, what each step costs.

All from the states of the steps; nothing is measured here.
"""

from collections.abc import Iterable

from msgspec import Struct

from drctl.ops.recovery.graph import Graph, Step
from drctl.ops.recovery.state import State

Interval = tuple[int, int]
_REQUIRED = ("prove", "check", "run")


class StepTime(Struct, frozen=True):
    """A step on the critical path. `saves_seconds`: how much earlier all would have been over,
    had this one cost nothing."""

    name: str
    seconds: float
    saves_seconds: float


class Timing(Struct, frozen=True):
    """`rta_seconds`: from the declaration to the last required step, None where one did not pass.
    `human_seconds` of it nothing but a person's answer was waited for. `prepare_seconds` passed
    before the first step. `restore_seconds`: while anything was being restored, which is all that
    other tools call a recovery time."""

    rta_seconds: float | None
    machine_seconds: float
    human_seconds: float
    prepare_seconds: float
    restore_seconds: float
    critical: tuple[StepTime, ...]


def timing(graph: Graph, state: State) -> Timing:
    """Of a run that is over."""
    last = _last_required(graph, state)
    end_ns = state[last].ended_ns if last else state.began_ns
    human = max(_seconds(_human(graph, state, end_ns)), 0.0)
    total = (end_ns - state.began_ns) / 1e9
    began = [step.asked_ns for step in state.steps.values() if step.asked_ns]
    is_told = last and total >= 0  # else the clock was set back meanwhile: nobody knows
    passed = is_told and all(state[s.name].status == "done" for s in _required(graph))
    return Timing(
        total if passed else None,
        max(total - human, 0.0),  # less than nothing does not read as evidence
        human,
        (min(began, default=state.began_ns) - state.began_ns) / 1e9,
        _seconds(merged(_of_kind(graph, state, "restore"))),
        _critical(graph, state, last) if last else (),
    )


def _required(graph: Graph) -> list[Step]:
    """What must be over before all is back: proofs, checks, and programs, since one that starts the
    application or switches DNS may stand behind the last proof. A program that may fail is not
    waited for by anybody."""
    return [step for step in graph.steps if step.kind in _REQUIRED and not _may_fail(step)]


def _may_fail(step: Step) -> bool:
    return step.kind == "run" and step.on_failure == "continue"


def _last_required(graph: Graph, state: State) -> str:
    over = [s.name for s in _required(graph) if state[s.name].ended_ns]
    return max(over, key=lambda name: state[name].ended_ns, default="")


def _of_kind(graph: Graph, state: State, *kinds: str) -> list[Interval]:
    found = ((step.kind, state[step.name]) for step in graph.steps)
    return [(s.asked_ns, s.ended_ns) for kind, s in found if kind in kinds and s.ended_ns]


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same stretch of time without overlaps, in order."""
    found: list[Interval] = []
    for begin, end in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _seconds(intervals: list[Interval]) -> float:
    return sum(end - begin for begin, end in intervals) / 1e9


def _human(graph: Graph, state: State, end_ns: int) -> list[Interval]:
    """While a person was asked and no machine worked."""
    waiting = merged(_of_kind(graph, state, "approval"))
    kinds = {step.kind for step in graph.steps} - {"approval"}
    working = merged(_of_kind(graph, state, *kinds))
    left = [(begin, min(end, end_ns)) for begin, end in waiting if begin < end_ns]
    for begin, end in working:
        left = [part for whole in left for part in _without(whole, begin, end)]
    return left


def _without(whole: Interval, begin: int, end: int) -> list[Interval]:
    parts = [(whole[0], min(whole[1], begin)), (max(whole[0], end), whole[1])]
    return [part for part in parts if part[0] < part[1]]


def _critical(graph: Graph, state: State, last: str) -> tuple[StepTime, ...]:
    """Backwards from the last: of all that a step waited for, what was over last."""
    path = [last]
    while before := [n for n in graph[path[-1]].after if state[n].ended_ns]:
        path.append(max(before, key=lambda name: state[name].ended_ns))
    whole_ns = _end_ns(graph, state, "")
    return tuple(
        StepTime(
            name,
            (state[name].ended_ns - state[name].asked_ns) / 1e9,
            (whole_ns - _end_ns(graph, state, name)) / 1e9,
        )
        for name in reversed(path)
    )


def _end_ns(graph: Graph, state: State, free: str) -> int:
    """When the last required step would have been over, had `free` cost nothing: each step keeps
    its length, and its distance from what it waited for."""
    ends: dict[str, int] = {}
    for step in graph.steps:
        at = state[step.name]
        if not at.ended_ns:
            continue
        real = max((state[n].ended_ns for n in step.after), default=state.began_ns)
        due = max((ends.get(n, 0) for n in step.after), default=state.began_ns)
        length = 0 if step.name == free else at.ended_ns - at.asked_ns
        ends[step.name] = due + max(at.asked_ns - real, 0) + length
    return max((ends[s.name] for s in _required(graph) if s.name in ends), default=0)
