"""The verdict of a drill: what was measured against what is tolerated, each with its basis.

What could not be measured is unknown, and unknown never passes.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from drctl.ops.recovery.controls import Controlled
from drctl.ops.recovery.graph import Graph
from drctl.ops.recovery.isolation import Isolation
from drctl.ops.recovery.returning import Returning
from drctl.ops.recovery.state import State
from drctl.ops.recovery.timing import Timing

Basis = Literal["marker", "consistent point", "journal", "not proven", "none"]
Answer = Literal["met", "missed", "unknown", "no objective"]
Verdict = Literal["passed", "missed", "failed", "invalid"]


class Judgement(Struct, frozen=True):
    """`what` is `rpa` or `rta`; `asset` is empty for the whole. `basis`: what it was measured by:
    a marker found in the restored copy, the snapshot's consistent point where the copy was proven
    to be what was counted then, or the journal of the run; an asset whose proof did not pass is
    measured by nothing. `cure`: what would let it be measured,
    where that is for the plan to say."""

    what: Literal["rpa", "rta"]
    asset: str
    measured_seconds: float | None
    objective_seconds: float | None
    basis: Basis
    cure: str = ""

    @property
    def answer(self) -> Answer:
        if self.objective_seconds is None:
            return "no objective"
        if self.measured_seconds is None:
            return "unknown"
        return "met" if self.measured_seconds <= self.objective_seconds else "missed"


class Tolerated(Struct, frozen=True):
    """Objectives in seconds. `rpo` and `rto` of an asset; None: none was set."""

    rto_seconds: float | None
    rpo: dict[str, float | None]
    rto: dict[str, float | None]


def rpa(
    assets: Iterable[Returning], graph: Graph, state: State, incident_ns: int, due: Tolerated
) -> list[Judgement]:
    """For each asset the time between its newest proven data and the incident."""
    return [_rpa(asset, graph, state, incident_ns, due.rpo.get(asset.name)) for asset in assets]


def _rpa(
    asset: Returning, graph: Graph, state: State, incident_ns: int, objective: float | None
) -> Judgement:
    proof = next((s.name for s in graph.steps if s.kind == "prove" and s.asset == asset.name), "")
    at = state.steps.get(proof)
    if at is None or at.status != "done":
        cure = "its proof did not pass"
        return Judgement("rpa", asset.name, None, objective, "not proven", cure)
    mark = at.facts.get("newest_mark_ns")
    if mark is not None:
        return Judgement("rpa", asset.name, _age(incident_ns, mark), objective, "marker")
    compared = {look["kind"] for look in at.facts.get("looks", ())} & {"counts", "compare"}
    if asset.is_marked or not compared:
        cure = "" if asset.is_marked else asset.measurable_by
        return Judgement("rpa", asset.name, None, objective, "none", cure)
    age = _age(incident_ns, asset.snapshot.consistent_at_ns)
    return Judgement("rpa", asset.name, age, objective, "consistent point")


def _age(incident_ns: int, newest_ns: int) -> float | None:
    """Data newer than the incident cannot be: one of two clocks is wrong, and nothing is known."""
    return (incident_ns - newest_ns) / 1e9 if newest_ns <= incident_ns else None


def rta(graph: Graph, state: State, timing: Timing, due: Tolerated) -> list[Judgement]:
    """For the whole, and for each asset with an objective of its own."""
    basis: Basis = "journal" if timing.rta_seconds is not None else "none"
    found = [Judgement("rta", "", timing.rta_seconds, due.rto_seconds, basis)]
    for step in graph.steps:
        objective = due.rto.get(step.asset)
        if step.kind == "prove" and objective is not None:
            at = state[step.name]
            is_back = at.status == "done" and at.ended_ns >= state.began_ns
            seconds = (at.ended_ns - state.began_ns) / 1e9 if is_back else None
            own: Basis = "journal" if is_back else "none"
            found.append(Judgement("rta", step.asset, seconds, objective, own))
    return found


def verdict(
    state: State,
    judgements: Iterable[Judgement],
    controlled: Iterable[Controlled],
    reasons: list[str],
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and every reason for it. `reasons`: what else speaks against it. A check that
    proves nothing makes all invalid; a recovery that failed is worse than one that was late."""
    cannot_fail = [f"check '{c.look.name}' {_why(c)}" for c in controlled if not c.proves]
    failed = list(reasons)
    if state.ending != "done":
        bad = [(n, s.what) for n, s in state.steps.items() if s.status in {"failed", "stuck"}]
        failed = [f"{n}: {what}" for n, what in bad] + failed or [f"it was {state.ending}"]
    late = [_tell(j) for j in judgements if j.answer in {"missed", "unknown"}]
    told = (*cannot_fail, *failed, *late)
    if cannot_fail:
        return "invalid", told
    return ("failed" if failed else "missed" if late else "passed"), told


def _why(c: Controlled) -> str:
    where = [
        n for n, found in (("an empty", c.empty), ("a damaged", c.damaged)) if found == "passed"
    ]
    if where:
        return f"passes on {' and '.join(where)} target too: it cannot fail and proves nothing"
    return "could not be tried where it must fail: nobody knows whether it can"


def _tell(j: Judgement) -> str:
    name = f"{j.what.upper()}{' of ' + j.asset if j.asset else ''}"
    if j.measured_seconds is None:
        cure = f": nothing measures it; {j.cure}" if j.cure else ""
        cure = f": {j.cure}" if j.basis == "not proven" else cure
        return f"{name} is unknown, and unknown never passes{cure}"
    return f"{name} is {j.measured_seconds:.1f}s, {j.objective_seconds:g}s is tolerated"


def told_left(left: Iterable[str]) -> list[str]:
    return [f"not torn down: {text}" for text in left]


def against(isolation: Isolation, is_needed: bool, left: Iterable[str]) -> list[str]:
    """What the surroundings of a drill say against it."""
    found = told_left(left)
    if is_needed and not isolation.proven:
        found.append(f"isolation was not proven: {isolation.doubt}")
    return found


def shortfalls(graph: Graph, state: State, assets: Mapping[str, Returning]) -> list[str]:
    """What speaks against what came back: entries that are not as they were, or were not whole in
    the snapshot, and snapshots that are suspect."""
    found = []
    for step in graph.steps:
        told = state[step.name].facts.get("not_as_saved", ())
        if told:
            found.append(f"{step.name}: not as saved: {told[0]}")
    return found + [
        f"{name}: no good snapshot: {asset.snapshot.short} is SUSPECT: {asset.snapshot.suspect}"
        for name, asset in assets.items()
        if asset.snapshot.suspect
    ]
