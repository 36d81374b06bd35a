"""Where a run of steps stands: a pure function of the events in its journal.

    step:  waiting -> running -> done | failed -> undoing -> undone | stuck
    run:   going -> (cancelled) -> over

A step that runs when drctl is killed is `waiting` again once a resume has said so: it is carried
out anew. An approval runs from the moment it is asked for until a person answers; nobody but a
person ends it, and a resume asks for it again only when nobody has answered.

Whoever resumes a run gives each step all its retries again, and nobody waits before the first.

A run that failed goes on, too, when a resume says so: what failed or was undone is to be done then,
and a refused approval is asked for again. What stands behind a step that was undone rests on it, so
it is done again as well: a check that passed says nothing of an application that was stopped since.
Only what was restored stays, with its proof: somebody may have worked with it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from drctl.ops.recovery.graph import Graph, Step

Status = Literal["waiting", "running", "done", "failed", "undoing", "undone", "stuck"]
Ending = Literal["", "done", "failed", "cancelled"]
Event = dict[str, Any]


class StepState(Struct, frozen=True):
    """`attempts` that were begun in all, and `tries`, those of them since the run began or was
    resumed; `what` the last one said; `by` who answered an approval. `asked_ns` is when it first
    could begin, `ended_ns` when it was over, 0 before. Of two steps the one with the greater `turn`
    was over later, whatever the clock said."""

    status: Status = "waiting"
    attempts: int = 0
    asked_ns: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    what: str = ""
    by: str = ""
    is_approved: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 0
    turn: int = 0


class State(Struct, frozen=True):
    """`began_ns`: the declaration, from which the outage is measured."""

    steps: Mapping[str, StepState]
    began_ns: int = 0
    cancelled_by: str = ""
    ending: Ending = ""
    ended_ns: int = 0

    def __getitem__(self, name: str) -> StepState:
        return self.steps[name]


class Moves(Struct, frozen=True):
    """What may be done next. `ending` is set when nothing more can be."""

    start: tuple[str, ...] = ()
    undo: str = ""
    ending: Ending = ""


def fresh(graph: Graph) -> State:
    return State(MappingProxyType({name: StepState() for name in graph.names}))


def replay(graph: Graph, events: list[Event]) -> State:
    """The state after these events. What does not fit is passed over: an answer that comes late,
    a step that this version of the plan does not have."""
    state = fresh(graph)
    for event in events:
        state = apply(graph, state, event)
    return state


def apply(graph: Graph, state: State, event: Event) -> State:
    """The state after one more event."""
    kind = event["event"]
    if kind == "declared":
        return replace(state, began_ns=state.began_ns or event["at_ns"])
    if kind == "cancelled":
        return replace(state, cancelled_by=state.cancelled_by or event["by"])
    if kind == "ended":
        return replace(state, ending=event["ending"], ended_ns=event["at_ns"])
    if kind == "resumed":
        return _go_on(graph, state)
    step = state.steps.get(event.get("step", ""))
    change = _CHANGES.get(kind)
    if step is None or change is None:
        return state
    if kind == "over":
        step = replace(step, turn=1 + max(other.turn for other in state.steps.values()))
    return _steps(state, {**state.steps, event["step"]: change(step, event)})


def _steps(state: State, steps: dict[str, StepState]) -> State:
    return replace(state, steps=MappingProxyType(steps))


def why_final(state: State) -> str:
    """Why a run cannot go on; empty where it can."""
    if state.ending in {"done", "cancelled"}:
        return "it has ended" if state.ending == "done" else f"{state.cancelled_by} cancelled it"
    stuck = [name for name, step in state.steps.items() if step.status == "stuck"]
    return f"what {stuck[0]} did could not be undone" if stuck and state.ending else ""


def _go_on(graph: Graph, state: State) -> State:
    if not state.ending:
        return _steps(state, {name: _resumed(step) for name, step in state.steps.items()})
    if why_final(state):
        return state
    behind = _behind_undone(graph, state)
    steps = {name: _again(step, name in behind) for name, step in state.steps.items()}
    return replace(_steps(state, steps), ending="", ended_ns=0)


def _behind_undone(graph: Graph, state: State) -> set[str]:
    """What was done on the strength of a step that was undone since."""
    fallen: set[str] = set()
    for step in graph.steps:
        if state[step.name].status == "undone" or not fallen.isdisjoint(step.after):
            fallen.add(step.name)
    return {name for name in fallen if graph[name].kind not in {"restore", "prove"}}


def _again(step: StepState, is_behind_undone: bool) -> StepState:
    if step.status not in {"failed", "undone"} and not is_behind_undone:
        return _resumed(step)
    return replace(step, status="waiting", tries=0, ended_ns=0, by="", is_approved=False)


def _resumed(step: StepState) -> StepState:
    if step.status == "undoing":
        return replace(step, status="done")  # undone again: it may have been half done
    if step.status not in {"running", "waiting"}:
        return step
    return replace(step, status="waiting", tries=0)


def _started(step: StepState, event: Event) -> StepState:
    if step.status != "waiting":
        return step
    at_ns = event["at_ns"]
    return replace(
        step,
        status="running",
        attempts=step.attempts + 1,
        tries=step.tries + 1,
        asked_ns=step.asked_ns or at_ns,
        began_ns=at_ns,
    )


def _tried(step: StepState, event: Event) -> StepState:
    """An attempt failed, and another follows."""
    if step.status != "running":
        return step
    return replace(step, status="waiting", what=event["what"])


def _over(step: StepState, event: Event) -> StepState:
    if step.status != "running":
        return step
    return replace(
        step,
        status="done" if event["ok"] else "failed",
        ended_ns=event["at_ns"],
        what=event["what"],
        facts=event.get("facts", {}),
    )


def _answered(step: StepState, event: Event) -> StepState:
    """The first answer counts."""
    if step.by or step.status in {"done", "failed"}:
        return step
    return replace(step, by=event["by"], is_approved=event["event"] == "approved")


def _undoing(step: StepState, _: Event) -> StepState:
    return replace(step, status="undoing") if step.status == "done" else step


def _undone(step: StepState, event: Event) -> StepState:
    if step.status != "undoing":
        return step
    return replace(step, status="undone" if event["ok"] else "stuck", what=event["what"])


_CHANGES = {
    "started": _started,
    "tried": _tried,
    "over": _over,
    "approved": _answered,
    "refused": _answered,
    "undoing": _undoing,
    "undone": _undone,
}


# -- what comes next ------------------------------------------------------------------------------


def moves(graph: Graph, state: State) -> Moves:
    """What a runner does next. Never more than the state allows, whatever came before."""
    if state.ending:
        return Moves(ending=state.ending)
    is_going = not state.cancelled_by and not _is_stopped(graph, state)
    start = tuple(s.name for s in graph.steps if is_going and _is_ready(s, graph, state))
    running = [s for s in state.steps.values() if s.status in {"running", "undoing"}]
    if start or running:
        return Moves(start=start)
    undo = _next_undo(graph, state)
    return Moves(undo=undo) if undo else Moves(ending=_ending(state))


def _is_stopped(graph: Graph, state: State) -> bool:
    """Whether a step failed that the others do not go on without."""
    return any(
        state[step.name].status in {"failed", "undoing", "undone", "stuck"}
        and step.on_failure != "continue"
        for step in graph.steps
    )


def _is_ready(step: Step, graph: Graph, state: State) -> bool:
    return state[step.name].status == "waiting" and all(
        _is_behind(graph[name], state[name]) for name in step.after
    )


def _is_behind(step: Step, at: StepState) -> bool:
    """Whether others need not wait for it any more."""
    return at.status == "done" or (at.status == "failed" and step.on_failure == "continue")


def _next_undo(graph: Graph, state: State) -> str:
    """The step that was done last, where one that failed, or whoever cancelled, wants all undone.
    One that cannot be undone ends it: what lies before may stand upon it."""
    wants = any(
        state[step.name].status == "failed" and step.on_failure == "undo" for step in graph.steps
    )
    is_stuck = any(step.status == "stuck" for step in state.steps.values())
    if is_stuck or not (wants or state.cancelled_by):
        return ""
    left = [s.name for s in graph.steps if s.undo and state[s.name].status == "done"]
    return max(left, key=lambda name: state[name].turn, default="")


def _ending(state: State) -> Ending:
    if state.cancelled_by:
        return "cancelled"
    unfinished = {"waiting", "failed", "undone", "stuck"}
    return "failed" if any(s.status in unfinished for s in state.steps.values()) else "done"
