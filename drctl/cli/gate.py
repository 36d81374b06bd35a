"""May we go on? Only with evidence that recovery was tried, lately, and came out well."""

from collections.abc import Iterable
from typing import Any

import click
from msgspec import Struct

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.proofs import Proofs
from drctl.errors import DrctlError, ExitCode, UsageError
from drctl.plan.tested import source_of, tested
from drctl.report.evidence import Proof
from drctl.report.readiness import Basis, Gate, gate
from drctl.report.signers import Keys
from drctl.units import parse_duration, show_seconds
from drctl.wiring import Wiring


@click.command()
@click.argument("drills", nargs=-1, metavar="[DRILL]...")
@click.option("--max-age", metavar="DURATION", help="Instead of objectives.drill_every.")
@click.option("--strict", is_flag=True, help="Hold up every change of the plan's file.")
@click.option(
    "--without", multiple=True, metavar="REPOSITORY", help="Do not ask this one. Repeatable."
)
@output_options
@pass_context
def command(
    context: Context,
    drills: tuple[str, ...],
    max_age: str | None,
    strict: bool,
    without: tuple[str, ...],
) -> int:
    """Judge the evidence of each DRILL of the plan, of all by default.

    Exit code 10 where evidence is absent, stale, of a drill that did not pass or of other checks,
    objectives or steps than the plan has now, unsigned, or where a piece is missing from its
    chain. 5 where a repository cannot be asked: it alone may know of a newer drill. One line for a
    delivery pipeline, or for cron.
    """
    wiring = context.wiring()
    context.subject = " ".join(drills)
    plan = wiring.loaded.plan
    unknown = [name for name in drills if name not in plan.drills]
    if unknown:
        raise UsageError(f"the plan has no drill '{unknown[0]}'")
    for name in without:
        wiring.part(name)
    every = max_age or plan.objectives.drill_every
    known = gather(wiring, [name for name in plan.repositories if name not in without])
    keys = Proofs(wiring).keys()
    found = judge(wiring, keys, drills or tuple(plan.drills), known.proofs, every)
    changed = [g.drill for g in found if strict and g.readiness == "changed since verified"]
    wrong = [*known.wrong] if found else [*known.wrong, "the plan describes no drill"]
    shut = wrong or changed or not all(g.is_open for g in found)
    silent = [
        f"{name} cannot be asked: {why}; a newer drill may be known there alone: try again, or "
        f"leave it out with --without {name}"
        for name, why in known.silent.items()
    ]
    document = {
        "open": not shut and not silent,
        "wrong": [*wrong, *silent],
        "not_asked": [*known.silent, *without],
        "drills": [_document(g) for g in found],
    }
    lines = [*map(_text, found), *(f"  ! {text}" for text in [*wrong, *silent])]
    context.result(document, "\n".join(lines))
    if silent:
        return ExitCode.STORAGE
    return ExitCode.OBJECTIVE_MISSED if shut else ExitCode.DONE


def _age(text: str | None) -> float | None:
    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise UsageError(f"--max-age: {error}") from error


def judge(
    wiring: Wiring, keys: Keys, drills: tuple[str, ...], proofs: list[Proof], every: str | None
) -> list[Gate]:
    """Each drill by this evidence."""
    age, now_ns = _age(every), wiring.clock.now_ns()
    plan, digest = wiring.loaded.plan, wiring.loaded.digest
    bases = [Basis(digest, tested(plan, n), source_of(plan, plan.drills[n])) for n in drills]
    return [gate(n, proofs, keys, on, age, now_ns) for n, on in zip(drills, bases, strict=True)]


class Known(Struct, frozen=True):
    """All evidence that was found, what is wrong with where it lies, and the repositories that
    could not be asked, with why."""

    proofs: list[Proof]
    wrong: list[str]
    silent: dict[str, str]


def gather(wiring: Wiring, repositories: Iterable[str]) -> Known:
    """What is here and in the repositories. What was taken out of one place shows by the others."""
    proofs = Proofs(wiring)
    here, wrong = proofs.here()
    found = {proof.name: proof for proof in here}
    silent: dict[str, str] = {}
    for name in repositories:
        try:
            there, odd = proofs.there(name)
        except DrctlError as error:
            silent[name] = error.what
            continue
        wrong += odd
        found |= {proof.name: proof for proof in there}
    return Known(list(found.values()), wrong, silent)


def gather_and_tell(wiring: Wiring) -> tuple[list[Proof], list[str]]:
    """The same of all repositories. One that cannot be asked is a warning."""
    known = gather(wiring, wiring.loaded.plan.repositories)
    for name, why in known.silent.items():
        wiring.warn(f"{name} cannot be asked: {why}")
    return known.proofs, known.wrong


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
