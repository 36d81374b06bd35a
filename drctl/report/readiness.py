"""How ready a plan is, by its evidence alone: what a gate lets through, and what it holds up."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from drctl.report.evidence import Proof, chain_faults
from drctl.report.signers import Keys, Trust
from drctl.units import show_seconds

Readiness = Literal["verified", "changed since verified", "overdue", "failed", "never verified"]

_CLOCKS_APART_SECONDS = 60.0  # evidence this far in the future: whose clock is right, nobody knows
_CHANGED = (
    "checks, objectives or steps of the plan, or the repository that the drill restores from, are "
    "others now: carry the drill out again"
)


class Basis(Struct, frozen=True):
    """What a drill is judged by now: `digest` is of the whole plan, `tested` of that part of it,
    `source` the repository that it restores from."""

    digest: str
    tested: str
    source: str

    def is_of(self, proof: Proof) -> bool:
        """Whether evidence is of a drill that was judged by the same."""
        plan, repository = proof.predicate["plan"], proof.predicate.get("repository", {})
        found = plan.get("tested_sha256"), repository.get("name")
        return found == (self.tested, self.source)


class Gate(Struct, frozen=True):
    """`faults`: why it stays shut. A change of the plan that the drill was not judged by is told,
    and does not shut it."""

    drill: str
    readiness: Readiness
    faults: tuple[str, ...]
    newest: Proof | None
    age_seconds: float | None

    @property
    def is_open(self) -> bool:
        return not self.faults


def gate(
    drill: str,
    proofs: Sequence[Proof],
    keys: Keys,
    basis: Basis,
    every_seconds: float | None,
    now_ns: int,
) -> Gate:
    """Judge one drill by all of its plan's evidence. What none of its keys signed says nothing of
    the drill, and shuts the gate."""
    faults = chain_faults(proofs)
    trust = Trust(keys, proofs)
    if keys.current is None:
        faults.append("nobody can tell who made the evidence: name a key with evidence.key")
    faults += trust.faults(proofs)
    own = [p for p in trust.good(proofs) if p.predicate["drill"] == drill]
    newest = max(own, key=lambda p: p.number, default=None)
    if newest is None:
        what = "it was never carried out, or its evidence is not here"
        return Gate(drill, "never verified", (*faults, what), None, None)
    age = now_ns / 1e9 - datetime.fromisoformat(newest.predicate["finished_at"]).timestamp()
    readiness: Readiness = "verified"
    if newest.predicate["plan"]["sha256"] != basis.digest:
        readiness = "changed since verified"
        if not basis.is_of(newest):
            faults.append(_CHANGED)
    if every_seconds is not None and age > every_seconds:
        readiness = "overdue"
        late = f"it was {show_seconds(age)} ago, every {show_seconds(every_seconds)} is due"
        faults.append(late)
    if age < -_CLOCKS_APART_SECONDS:
        readiness = "overdue"
        ahead = show_seconds(-age)
        faults.append(f"it was made {ahead} from now: a clock is wrong, and nobody knows its age")
    verdict = newest.predicate["verdict"]
    if verdict != "passed":
        readiness = "failed"
        faults.append(f"the last one {_was(verdict)}: {_first(newest)}")
    return Gate(drill, readiness, tuple(faults), newest, age)


def _was(verdict: str) -> str:
    words = {"missed": "missed its objectives", "invalid": "was invalid", "failed": "failed"}
    return words.get(verdict, "has no verdict")


def _first(proof: Proof) -> str:
    reasons = proof.predicate.get("reasons") or ["no reason is given"]
    return str(reasons[0])
