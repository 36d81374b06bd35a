"""Try the recovery out, in a place of its own, and measure it."""

import json
import os
from random import Random

import click
from msgspec import Struct

from drctl.cli.context import (
    Context,
    identity_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.findings import document_of, keep_findings, write_text
from drctl.cli.proofs import Proofs
from drctl.cli.reading import Opened, open_with
from drctl.cli.recovering import (
    assets_of,
    denied,
    live_paths,
    returning,
    source_of_drill,
    tolerated,
)
from drctl.cli.sitegone import Gone, site_gone
from drctl.cli.steps import steps_of
from drctl.errors import ExitCode, StorageError, UsageError
from drctl.ops.drill import DrillResult, Order, conclude, drill
from drctl.ops.recovery.box import Box, must_be_apart
from drctl.ops.recovery.graph import runs_programs
from drctl.ops.recovery.isolation import Isolation, isolated
from drctl.ops.recovery.journal import Journal
from drctl.ops.recovery.performer import Place
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.returning import Returning
from drctl.plan.recovery import DrillPart
from drctl.repository import suspects
from drctl.repository.state import exclusive
from drctl.units import parse_duration, parse_instant, show_instant
from drctl.wiring import Wiring, drill_home


class _Point(Struct, frozen=True):
    """What is restored: the newest not after `at_ns`, or the newest of all where it is None."""

    at_ns: int | None
    incident_ns: int
    how: str


@click.command()
@click.argument("name")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Choose the same point again.")
@click.option("--junit", metavar="FILE", help="Also write the checks as JUnit XML.")
@click.option("--findings", metavar="FILE", hidden=True, help="Leave them there; keep nothing.")
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    name: str,
    seed: int | None,
    junit: str | None,
    findings: str | None,
    identity_path: str | None,
) -> int:
    """Carry out the drill NAME of the plan: restore into a private place, start what is to be
    started, check, measure against the objectives, and take everything down again.

    With --kit the site is taken for gone: drctl is carried out where nothing of this host is seen
    but its programs, the kit and the drill's repository.

    Exit code 10 when an objective was missed, a check failed, or a check could not have failed.
    """
    wiring = context.wiring()
    context.subject = name
    part = _part(wiring, name)
    context.is_run = not findings  # whoever asked for them tells people of it
    if not findings:
        Proofs(wiring).key()  # before hours are spent on what could not be signed
    if seed is None:
        seed = int.from_bytes(wiring.randomness(4), "big") >> 1
    if context.kit_files and not findings:
        return site_gone(
            context, wiring, Gone(name, part, source_of_drill(wiring, part), seed), junit
        )
    identity = context.identity(wiring, identity_path)
    declared_ns = wiring.clock.now_ns()
    context.interrupted_hint = "the drill was given up; what it made is removed"
    with exclusive(os.path.join(drill_home(wiring, part.directory), "drill.lock"), "a drill"):
        # Whoever recovers has nothing of this host: neither what it proves nor the time it saves.
        opened = open_with(context, wiring, source_of_drill(wiring, part), identity, fresh=True)
        result = _drill(opened, name, part, seed, declared_ns)
    if findings:
        write_text(findings, json.dumps(document_of(wiring, result)))
    else:
        context.result(*keep_findings(wiring, result, junit))
    return ExitCode.DONE if result.verdict == "passed" else ExitCode.OBJECTIVE_MISSED


def _part(wiring: Wiring, name: str) -> DrillPart:
    drills = wiring.loaded.plan.drills
    if name not in drills:
        listed = ", ".join(drills) or "none"
        raise UsageError(f"the plan has no drill '{name}'", hint=f"its drills: {listed}")
    return drills[name]


def _drill(opened: Opened, name: str, part: DrillPart, seed: int, declared_ns: int) -> DrillResult:
    wiring = opened.wiring
    box = Box(drill_home(wiring, part.directory), wiring.randomness)
    try:
        must_be_apart(box.path, live_paths(wiring))
        places = denied(wiring, part.deny_sites)
        with isolated(places, (wiring.loaded.base, box.path)) as isolation:
            result = _carry_out(opened, name, part, seed, declared_ns, box, isolation)
    finally:
        left = box.remove()
    return conclude(result, left, wiring.report)


def _carry_out(
    opened: Opened,
    name: str,
    part: DrillPart,
    seed: int,
    declared_ns: int,
    box: Box,
    isolation: Isolation,
) -> DrillResult:
    wiring = opened.wiring
    plan = wiring.loaded.plan
    source = source_of_drill(wiring, part)
    point = _point(opened, part, seed, declared_ns)
    assets = {
        asset: returning(opened, asset, box.at("target", asset), point.at_ns)
        for asset in assets_of(plan)
    }
    counted = {n: bool(a.counts_due) for n, a in assets.items()}
    graph = steps_of(plan, part.steps, counted, {}, asks=False)
    order = Order(
        name,
        source,
        opened.repository.where,
        plan.repositories[source].site,
        point.how + _passed_over(opened, assets, point.at_ns),
        seed,
        declared_ns,
        point.incident_ns,
        graph,
        tolerated(plan, part.objectives),
        bool(part.deny_sites) or runs_programs(graph),
        part.undo,
        part.steps,
    )
    return drill(order, _place(opened, assets, box, isolation), box, isolation)


def _passed_over(opened: Opened, assets: dict[str, Returning], at_ns: int | None) -> str:
    """So that the evidence says which point it speaks of."""
    over = [
        name
        for name, asset in assets.items()
        if suspects.passed_over(asset.snapshot, opened.found.beside(asset.snapshot, at_ns))
    ]
    return f"; of {', '.join(over)} the last good one: newer ones are SUSPECT" if over else ""


def _place(opened: Opened, assets: dict[str, Returning], box: Box, isolation: Isolation) -> Place:
    wiring = opened.wiring
    base = wiring.loaded.base
    variables = {"DRCTL_MODE": "drill", "DRCTL_DRILL": box.path}
    doubt = isolation.doubt and f"isolation was not proven: {isolation.doubt}"
    return Place(
        run_id=os.path.basename(box.path),
        reader=opened.reader,
        pool=opened.pool,
        assets=assets,
        programs=Programs(base, variables, isolation.words, barred=doubt),
        journal=Journal(box.at("run"), wiring.clock, "carry the drill out again"),
        clock=wiring.clock,
        report=wiring.report,
        keeps_up=True,
    )


def _point(opened: Opened, part: DrillPart, seed: int, declared_ns: int) -> _Point:
    """Which point is restored. A random one lies where every asset has a snapshot."""
    pick = part.pick
    if pick.at:
        at_ns = parse_instant(pick.at, declared_ns)
        return _Point(at_ns, at_ns, f"as of {show_instant(at_ns)}")
    if not pick.random_within:
        return _Point(None, declared_ns, "the newest")
    oldest = [_oldest_ns(opened, asset) for asset in assets_of(opened.wiring.loaded.plan)]
    begin = max([declared_ns - round(parse_duration(pick.random_within) * 1e9), *oldest])
    at_ns = Random(seed).randint(min(begin, declared_ns), declared_ns)  # noqa: S311 - repeatable
    how = f"as of {show_instant(at_ns)}, chosen at random with seed {seed}"
    return _Point(at_ns, at_ns, how)


def _oldest_ns(opened: Opened, asset: str) -> int:
    found = opened.found.line(asset, opened.host)
    if not found:
        raise StorageError(
            f"there is no snapshot of {asset} in {opened.repository.where}",
            hint="run 'drctl backup' and 'drctl replicate' first",
        )
    return found[0].consistent_at_ns
