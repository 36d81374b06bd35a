"""May we go on? Only with evidence that recovery was tried, lately, and came out well."""

from collections.abc import Iterable
from typing import Any

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.proofs import Proofs
from drctl.errors import DrctlError, ExitCode, UsageError
from drctl.events import Notice
from drctl.plan.tested import tested
from drctl.report.evidence import Proof
from drctl.report.readiness import Gate, gate
from drctl.units import parse_duration, show_seconds
from drctl.wiring import Wiring


@click.command()
@click.argument("drills", nargs=-1, metavar="[DRILL]...")
@click.option("--max-age", metavar="DURATION", help="Instead of objectives.drill_every.")
@click.option("--strict", is_flag=True, help="Hold up every change of the plan's file.")
@output_options
@pass_context
def command(context: Context, drills: tuple[str, ...], max_age: str | None, strict: bool) -> int:
    """Judge the evidence of each DRILL of the plan, of all by default.

    Exit code 10 where evidence is absent, stale, of a drill that did not pass or of other checks,
    objectives or steps than the plan has now, unsigned, or where a piece is missing from its
    chain. One line for a delivery pipeline, or for cron.
    """
    wiring = context.wiring()
    context.subject = " ".join(drills)
    plan = wiring.loaded.plan
    unknown = [name for name in drills if name not in plan.drills]
    if unknown:
        raise UsageError(f"the plan has no drill '{unknown[0]}'")
    every = max_age or plan.objectives.drill_every
    proofs, wrong = gather(wiring, tuple(plan.repositories))
    found = judge(wiring, drills or tuple(plan.drills), proofs, every)
    changed = [g.drill for g in found if strict and g.readiness == "changed since verified"]
    if not found:
        wrong.append("the plan describes no drill")
    shut = wrong or changed or not all(g.is_open for g in found)
    document = {
        "open": not shut,
        "wrong": wrong,
        "drills": [_document(g) for g in found],
    }
    context.result(document, "\n".join([*map(_text, found), *(f"  ! {w}" for w in wrong)]))
    return ExitCode.OBJECTIVE_MISSED if shut else ExitCode.DONE


def _age(text: str | None) -> float | None:
    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise UsageError(f"--max-age: {error}") from error


def judge(
    wiring: Wiring, drills: tuple[str, ...], proofs: list[Proof], every: str | None
) -> list[Gate]:
    """Each drill by this evidence."""
    key, age, now_ns = Proofs(wiring).public_key(), _age(every), wiring.clock.now_ns()
    plan, digest = wiring.loaded.plan, wiring.loaded.digest
    return [gate(name, proofs, key, digest, tested(plan, name), age, now_ns) for name in drills]


def gather(wiring: Wiring, repositories: Iterable[str]) -> tuple[list[Proof], list[str]]:
    """All that is here and in the repositories, and what is wrong with where it lies. What was
    taken out of one place shows by the others."""
    proofs = Proofs(wiring)
    here, wrong = proofs.here()
    found = {proof.name: proof for proof in here}
    for name in repositories:
        try:
            there, odd = proofs.there(name)
        except DrctlError as error:
            wiring.report.emit(Notice("warning", f"{name} cannot be asked: {error.what}"))
            continue
        wrong += odd
        found |= {proof.name: proof for proof in there}
    return list(found.values()), wrong


def _document(g: Gate) -> dict[str, Any]:
    return {
        "drill": g.drill,
        "readiness": g.readiness,
        "open": g.is_open,
        "faults": list(g.faults),
        "evidence": g.newest.number if g.newest else None,
        "age_seconds": None if g.age_seconds is None else round(g.age_seconds),
    }


def _text(g: Gate) -> str:
    ago = f", {show_seconds(max(g.age_seconds, 0))} ago" if g.age_seconds is not None else ""
    head = f"{g.drill}: {g.readiness}{ago}"
    return "\n".join([head, *(f"  ! {fault}" for fault in g.faults)])
