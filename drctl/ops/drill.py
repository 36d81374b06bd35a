"""The walk of a drill: isolate -> recover -> stop the clock -> undo -> controls -> judge.

A drill is a recovery into a place of its own. Whatever happens in it, the place is taken down by
whoever made it; what it then finds is part of the verdict.
"""

import threading
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from drctl.clock import Clock
from drctl.errors import DrctlError
from drctl.events import Notice, Phase, Reporter
from drctl.ops.recovery.box import Box, end_all
from drctl.ops.recovery.controls import Bench, Controlled, controls
from drctl.ops.recovery.graph import Graph, Mode
from drctl.ops.recovery.isolation import Isolation
from drctl.ops.recovery.judge import (
    Judgement,
    Tolerated,
    Verdict,
    against,
    rpa,
    rta,
    shortfalls,
    verdict,
)
from drctl.ops.recovery.performer import Acting, Place
from drctl.ops.recovery.returning import Returning
from drctl.ops.recovery.runner import Control, Runner
from drctl.ops.recovery.state import State
from drctl.ops.recovery.timing import Timing, timing

_CONTROL_SECONDS = 600.0


class Order(Struct, frozen=True):
    """What is drilled. `declared_ns`: when the clock began; `incident_ns`: the instant at which
    all is taken to be lost. `picked`: how the point was chosen, in words. `needs_isolation`: the
    plan wants sites denied, or has programs run. `mode`: whose steps are drilled."""

    name: str
    repository: str
    where: str
    site: str
    picked: str
    seed: int
    declared_ns: int
    incident_ns: int
    graph: Graph
    tolerated: Tolerated
    needs_isolation: bool
    undoes: bool
    mode: Mode = "drill"


class DrillResult(Struct, frozen=True):
    """All that a drill found. `undone`: how each step's undo went, where that was drilled."""

    order: Order
    assets: Mapping[str, Returning]
    state: State
    timing: Timing
    isolation: Isolation
    controlled: tuple[Controlled, ...]
    judgements: tuple[Judgement, ...]
    verdict: Verdict
    reasons: tuple[str, ...]
    undone: Mapping[str, str]
    finished_ns: int
    left: tuple[str, ...] = ()


def drill(order: Order, place: Place, box: Box, isolation: Isolation) -> DrillResult:
    """Recover, and find out what that is worth. Raises what keeps a drill from being carried out;
    what goes wrong in the recovery itself is its result."""
    place.report.emit(Phase(f"drill {order.name}"))
    acting = Acting(place)
    journal, clock = place.journal, place.clock
    journal.append("declared", at_ns=order.declared_ns, drill=order.name)
    undone: dict[str, str] = {}
    controlled: tuple[Controlled, ...] = ()
    try:
        with journal.running():
            state = Runner(order.graph, journal, acting, clock, place.report).run()
        if order.undoes:
            undone = _undo(order.graph, state, acting, place)
        _end_programs(box, acting, place.report)
        if state.ending == "done":
            controlled = _controls(order, place, box, acting, state)
    finally:
        acting.close()
    return _result(order, place, state, isolation, controlled, undone)


def _undo(graph: Graph, state: State, acting: Acting, place: Place) -> dict[str, str]:
    """Every step that was done, from the last to the first. Empty text: it went well."""
    done = [s for s in graph.steps if s.undo and state[s.name].status == "done"]
    found = {}
    for step in sorted(done, key=lambda s: -state[s.name].turn):
        control = _control(place.clock, step.timeout_seconds)
        outcome = acting.undo(step, control)
        found[step.name] = "" if outcome.ok else outcome.what
        text = f"{step.name}: undone" if outcome.ok else f"{step.name}: undo FAILED: {outcome.what}"
        place.report.emit(Notice("info" if outcome.ok else "warning", text))
    return found


def _end_programs(box: Box, acting: Acting, report: Reporter) -> None:
    """Servers that belong to restored assets are taken down first, in their own way. One that does
    not go is ended, and takes nothing of what was found with it."""
    try:
        acting.close()
    except DrctlError as error:
        report.emit(Notice("warning", f"what was put up did not go, and is ended: {error.what}"))
    end_all(box.path)


def _controls(
    order: Order, place: Place, box: Box, acting: Acting, state: State
) -> tuple[Controlled, ...]:
    place.report.emit(Notice("info", "negative controls: the same checks where they must fail"))
    done = (look for at in state.steps.values() for look in at.facts.get("looks", ()))
    took_seconds = sum(look["seconds"] for look in done)
    control = _control(place.clock, _CONTROL_SECONDS + 2 * took_seconds)
    bench = Bench(acting.eyes, control, box.at("empty"), order.seed)
    try:
        return controls(order.graph, place.assets, bench)
    except DrctlError as error:
        place.report.emit(Notice("warning", f"the controls could not be carried out: {error}"))
        looks = [look for step in order.graph.steps for look in step.looks]
        return tuple(Controlled(look, "not tried", "not tried") for look in looks)


def _control(clock: Clock, seconds: float) -> Control:
    return Control(clock, clock.monotonic_seconds() + seconds, threading.Event(), seconds)


def _result(
    order: Order,
    place: Place,
    state: State,
    isolation: Isolation,
    controlled: tuple[Controlled, ...],
    undone: dict[str, str],
) -> DrillResult:
    times = timing(order.graph, state)
    judgements = (
        *rpa(place.assets.values(), order.graph, state, order.incident_ns, order.tolerated),
        *rta(order.graph, state, times, order.tolerated),
    )
    return DrillResult(
        order,
        place.assets,
        state,
        times,
        isolation,
        controlled,
        judgements,
        "failed",
        (),
        undone,
        place.clock.now_ns(),
    )


def conclude(result: DrillResult, left: tuple[str, ...], report: Reporter) -> DrillResult:
    """The verdict, once all is taken down: what is left of a drill speaks against it, too."""
    reasons = against(result.isolation, result.order.needs_isolation, left)
    reasons += [f"undo of {name}: {what}" for name, what in result.undone.items() if what]
    reasons += shortfalls(result.order.graph, result.state, result.assets)
    found, told = verdict(result.state, result.judgements, result.controlled, reasons)
    for text in left:
        report.emit(Notice("warning", text))
    return replace(result, verdict=found, reasons=told, left=left)
