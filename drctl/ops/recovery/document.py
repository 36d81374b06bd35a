"""What a drill found as one document: what evidence binds, and what every report shows."""

from collections.abc import Mapping
from typing import Any

from drctl import __version__
from drctl.ops.drill import DrillResult
from drctl.ops.recovery.controls import Controlled
from drctl.ops.recovery.graph import Step
from drctl.ops.recovery.isolation import Isolation
from drctl.ops.recovery.judge import Judgement
from drctl.ops.recovery.returning import Returning
from drctl.ops.recovery.state import StepState
from drctl.ops.recovery.timing import Timing
from drctl.units import iso_instant

Document = dict[str, Any]


def drill_document(result: DrillResult, plan: str, digest: str, tested: str, host: str) -> Document:
    """Times are UTC, durations seconds, sizes bytes. `plan` is its name, `digest` its file's,
    `tested` that of what the verdict rests on."""
    order, state = result.order, result.state
    controlled = {c.look.name: c for c in result.controlled}
    return {
        "plan": {"name": plan, "sha256": digest, "tested_sha256": tested},
        "drill": order.name,
        "mode": order.mode,
        "verdict": result.verdict,
        "reasons": list(result.reasons),
        "drctl_version": __version__,
        "host": host,
        "repository": {"name": order.repository, "site": order.site, "where": order.where},
        "picked": order.picked,
        "seed": order.seed,
        "declared_at": iso_instant(order.declared_ns),
        "incident_at": iso_instant(order.incident_ns),
        "finished_at": iso_instant(result.finished_ns),
        "snapshots": [_snapshot(asset) for asset in result.assets.values()],
        "steps": [_step(step, state[step.name]) for step in order.graph.steps],
        "left_out": list(order.graph.left_out),
        "checks": list(_checks(result, controlled)),
        "objectives": [_judgement(j) for j in result.judgements],
        "timing": _timing(result.timing),
        "isolation": _isolation(result.isolation),
        "undone": dict(result.undone),
        "left_behind": list(result.left),
    }


def _snapshot(asset: Returning) -> Document:
    s = asset.snapshot
    return {
        "asset": s.asset,
        "sha256": s.name,
        "engine": s.engine,
        "consistent_at": iso_instant(s.consistent_at_ns),
        "entries": s.entries,
        "size_bytes": s.size_bytes,
        "status": s.status,
        "plan_sha256": s.plan_digest,
    }


def _step(step: Step, at: StepState) -> Document:
    return {
        "step": step.name,
        "kind": step.kind,
        "asset": step.asset,
        "after": list(step.after),
        "status": at.status,
        "attempts": at.attempts,
        "asked_at": iso_instant(at.asked_ns) if at.asked_ns else None,
        "ended_at": iso_instant(at.ended_ns) if at.ended_ns else None,
        "seconds": _rounded((at.ended_ns - at.asked_ns) / 1e9) if at.ended_ns else None,
        "what": at.what,
        "by": at.by,
        "files": dict(at.facts.get("files", {})),
    }


def _checks(result: DrillResult, controlled: Mapping[str, Controlled]) -> list[Document]:
    """Every look, also one that was never reached."""
    found: list[Document] = []
    for step in result.order.graph.steps:
        done = {look["check"]: look for look in result.state[step.name].facts.get("looks", ())}
        for look in step.looks:
            missing: Document = {
                "check": look.name,
                "kind": look.kind,
                "asset": look.asset,
                "ok": None,
                "found": "it was not reached",
                "seconds": None,
                "files": {},
            }
            control = controlled.get(look.name)
            found.append({**done.get(look.name, missing), "asked": look.what, **_control(control)})
    return found


def _control(control: Controlled | None) -> Document:
    if control is None:
        return {"on_empty": "not tried", "on_damaged": "not tried", "proves": None}
    return {
        "on_empty": control.empty,
        "on_damaged": control.damaged,
        "proves": control.proves,
    }


def _judgement(j: Judgement) -> Document:
    return {
        "what": j.what,
        "asset": j.asset,
        "measured_seconds": _rounded(j.measured_seconds),
        "objective_seconds": j.objective_seconds,
        "basis": j.basis,
        "answer": j.answer,
    }


def _timing(t: Timing) -> Document:
    return {
        "rta_seconds": _rounded(t.rta_seconds),
        "machine_seconds": _rounded(t.machine_seconds),
        "human_seconds": _rounded(t.human_seconds),
        "prepare_seconds": _rounded(t.prepare_seconds),
        "restore_seconds": _rounded(t.restore_seconds),
        "critical_path": [
            {
                "step": s.name,
                "seconds": _rounded(s.seconds),
                "saves_seconds": _rounded(s.saves_seconds),
            }
            for s in t.critical
        ],
    }


def _isolation(isolation: Isolation) -> Document:
    return {
        "proven": isolation.proven,
        "tried": [f"{p.name} ({p.place})" for p in isolation.tried],
        "reached": list(isolation.reached),
        "reached_from_outside": list(isolation.control),
        "why_not": isolation.why_not,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
