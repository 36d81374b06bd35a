"""The real thing: bring back what is lost, in order, and survive a lost terminal."""

import json
import os
import socket
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import click

from drctl.cli.aftermath import tell_step
from drctl.cli.context import (
    Context,
    from_plan_option,
    identity_option,
    instant,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.namesakes import home_of
from drctl.cli.newest import Sought
from drctl.cli.reading import Opened, open_newest, open_with
from drctl.cli.recover_answers import NOBODY, answer, graph_of, state_of, told
from drctl.cli.recover_asked import refuse_what_says_nothing
from drctl.cli.recovered import keep_recovery
from drctl.cli.recovering import assets_of, place_of, restoring, returning, spot_of
from drctl.cli.steps import steps_of
from drctl.codec.recipients import Identity
from drctl.errors import ExitCode, PlanError, TargetRefused, UsageError
from drctl.events import Notice
from drctl.model import Snapshot
from drctl.ops.recovery import runs
from drctl.ops.recovery.apart import must_get_along
from drctl.ops.recovery.graph import Graph, Mode
from drctl.ops.recovery.performer import Acting, Place
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.returning import Returning
from drctl.ops.recovery.runner import Runner
from drctl.ops.recovery.runs import Run
from drctl.ops.recovery.state import State, replay, why_final
from drctl.ops.recovery.timing import timing
from drctl.plan.model import Plan
from drctl.repository import catalog, suspects
from drctl.units import show_instant, show_seconds
from drctl.wiring import Wiring


@click.command()
@click.option(
    "--mode",
    type=click.Choice(["failover", "planned", "failback"]),
    default="failover",
    show_default=True,
    help="Which steps apply.",
)
@click.option("--at", metavar="TIME", help="As it was at TIME; else as new as can be.")
@click.option("--even-suspect", is_flag=True, help="Take the newest, also where it is SUSPECT.")
@click.option("--to", metavar="DIRECTORY", help="Put every asset below it, under its name.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="A parameter's value.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--resume", is_flag=True, help="Go on with the run that began last, or try again.")
@click.option("--anew", is_flag=True, help="Begin another, though the last one has not ended.")
@click.option("--watch", is_flag=True, help="Show how the run that began last stands.")
@click.option("--approve", metavar="STEP", help="Agree to a step that waits for it.")
@click.option("--refuse", metavar="STEP", help="Refuse it.")
@click.option("--cancel", is_flag=True, help="End the run: nothing more begins, and it is undone.")
@click.option("--by", metavar="NAME", help="Who approves, refuses or cancels.")
@from_plan_option
@kit_option
@identity_option
@output_options
@pass_context
def command(context: Context, /, **given: Any) -> int:
    """Carry the plan's recovery out, for real: what it does and where is said first, and asked.

    Of each asset the last good snapshot is taken; a newer one that is SUSPECT is named, and taken
    with --even-suspect. Nothing is ever overwritten. When drctl is killed or the terminal lost,
    --resume goes on where it stood. A program that was running then is ended and run again. After a
    recovery that failed, --resume tries again what failed or was undone. Two of one plan never run
    at once.
    """
    refuse_what_says_nothing(click.get_current_context())
    wiring = context.wiring()
    home = home_of(wiring, "recoveries")
    context.is_run = not (given["approve"] or given["refuse"] or given["cancel"] or given["watch"])
    if given["approve"] or given["refuse"] or given["cancel"]:
        return answer(context, wiring, runs.newest(home, wiring.clock), given)
    if given["watch"]:
        run = runs.newest(home, wiring.clock)
        return _show(context, wiring, run, graph_of(wiring, run.order))
    with runs.alone(home):
        return (_resume if given["resume"] else _begin)(context, home, given)


def _resume(context: Context, home: str, given: dict[str, Any]) -> int:
    wiring = context.wiring()
    run = runs.newest(home, wiring.clock)
    why = why_final(state_of(wiring, run))
    if why:
        raise UsageError(f"{told(run)} cannot go on: {why}", hint="see it with --watch")
    identity = context.identity(wiring, given["identity_path"])
    wiring.report.emit(Notice("info", f"going on with {told(run)}"))
    return _go_on(context, open_with(context, wiring, run.order["repository"], identity), run)


def _begin(context: Context, home: str, given: dict[str, Any]) -> int:
    wiring = context.wiring()
    before, last = runs.unfinished(home, wiring.clock), runs.last(home, wiring.clock)
    if before and not given["anew"]:
        raise UsageError(
            f"{told(before)} has not ended",
            hint="go on with --resume, or have it undone with --cancel --by NAME and --resume; "
            "'drctl recover --anew' leaves it as it is and begins another",
        )
    identity = context.identity(wiring, given["identity_path"])
    declared_ns = wiring.clock.now_ns()
    opened = _opened(context, wiring, identity, given)
    order = _order(opened, given, opened.name, declared_ns)
    _refuse_occupied(wiring, order, last)
    announcement = _announcement(wiring, order)
    if given["yes"]:
        wiring.report.emit(Notice("info", announcement))
    context.confirm(announcement, given["yes"])
    name = runs.name_of(declared_ns, last, wiring.randomness(3).hex())
    if before:
        runs.end_what_was_left(before)
    return _go_on(context, opened, runs.begin(home, name, order, wiring.clock))


def _opened(context: Context, wiring: Wiring, identity: Identity, given: dict[str, Any]) -> Opened:
    named = given["repository"]
    order = [named] if named else [wiring.primary(), *wiring.others()]
    wiring.part(order[0])
    sought = Sought(assets_of(wiring.loaded.plan), instant(wiring, given["at"]))
    return open_newest(context, wiring, order, identity, sought)


# -- what is decided ------------------------------------------------------------------------------


def _order(opened: Opened, given: dict[str, Any], source: str, declared_ns: int) -> runs.Order:
    """Everything that a resume must not decide anew: which snapshots, and where to."""
    wiring = opened.wiring
    plan = wiring.loaded.plan
    at_ns = instant(wiring, given["at"])
    values = {**plan.recovery.parameters, **_values(plan, given["sets"])}
    graph = steps_of(plan, cast(Mode, given["mode"]), {}, values)
    wanted = [s.asset for s in graph.steps if s.kind == "restore"]
    assets: dict[str, dict[str, str]] = {}
    for name in (name for name in assets_of(plan) if name in wanted):
        picked = _picked(opened, name, at_ns, even_suspect=given["even_suspect"])
        assets[name] = {
            "snapshot": picked.name,
            "system": _system(opened, picked),
            "to": _place(wiring, name, given["to"], values),
            "doubt": _doubt(opened, picked, at_ns),
        }
    must_get_along(graph, {name: asset["to"] for name, asset in assets.items()})
    return {
        "mode": given["mode"],
        "repository": source,
        "where": opened.repository.where,
        "plan_sha256": wiring.loaded.digest,
        "declared_ns": declared_ns,
        "at_ns": at_ns,
        "parameters": values,
        "assets": assets,
    }


def _picked(opened: Opened, asset: str, at_ns: int | None, *, even_suspect: bool) -> Snapshot:
    """What is suspect is told when it is opened, by its own id."""
    if even_suspect:
        known = tuple(opened.wiring.loaded.plan.assets)
        picked = catalog.pick(opened.found, asset, at_ns, known, opened.host)
        return opened.found.beside(picked, at_ns)[-1]
    return opened.pick(asset, at_ns, "'drctl recover --even-suspect' takes the newest")


def _doubt(opened: Opened, picked: Snapshot, at_ns: int | None) -> str:
    """What stands beside it where somebody is asked to agree."""
    if picked.suspect:
        return "IT IS SUSPECT"
    over = suspects.passed_over(picked, opened.found.beside(picked, at_ns))
    return f"not the newest, {over[-1].short}, which is SUSPECT" if over else ""


def _system(opened: Opened, picked: Snapshot) -> str:
    """What a cluster of servers calls itself for ever; empty for what has no such name."""
    told = opened.root(picked).private_facts.get("cluster")
    return str(json.loads(told).get("system_id", "")) if told else ""


def _values(plan: Plan, sets: tuple[str, ...]) -> dict[str, str]:
    values = dict(text.partition("=")[::2] for text in sets)
    unknown = [name for name in values if name not in plan.recovery.parameters]
    if unknown:
        listed = ", ".join(plan.recovery.parameters) or "none"
        raise UsageError(f"the plan has no parameter '{unknown[0]}'", hint=f"it has {listed}")
    return values


def _place(wiring: Wiring, name: str, below: str | None, values: dict[str, str]) -> str:
    """Where an asset is put: below --to, where its step says, or where the plan protects it."""
    if below:
        return os.path.join(os.path.abspath(below), name)
    found = place_of(wiring.loaded, name, values)
    if found is None:
        raise PlanError(
            f"the plan does not say where {name} is put",
            hint="say 'to' in the step that restores it, or give --to DIRECTORY",
        )
    return found


def _refuse_occupied(wiring: Wiring, order: runs.Order, before: Run | None) -> None:
    """Before anything is done: one that is refused half-way has fenced production already."""
    again = ""
    if before and not why_final(state_of(wiring, before)):
        again = f"try {told(before)} again with --resume, or "
    plan = wiring.loaded.plan
    occupied = [
        f"{name}: {', '.join(found)}"
        for name, asset in order["assets"].items()
        if (found := spot_of(plan, name, asset["to"]).standing())
        and restoring(plan, name).existing != "set_aside"
    ]
    if occupied:
        raise TargetRefused(
            f"something is there already, and nothing is overwritten: {', '.join(occupied)}",
            hint=f"{again}move each away, say 'existing: set_aside' in its step, or give --to "
            "DIRECTORY; nothing was begun",
        )


def _announcement(wiring: Wiring, order: runs.Order) -> str:
    """Host, source, and what becomes of each place: before anything is done."""
    plan = wiring.loaded.plan
    lines = [
        f"{order['mode']} of {plan.name} on this host, {socket.gethostname()}",
        f"  from {order['where']}",
    ]
    for name, asset in order["assets"].items():
        fate = ""
        if spot_of(plan, name, asset["to"]).standing():
            fate = ": WHAT IS THERE IS SET ASIDE"
        system = f" (system identifier {asset['system']})" if asset["system"] else ""
        lines.append(f"  {name} {asset['snapshot'][:8]}{system} to {asset['to']}{fate}")
        lines += [f"    {asset['doubt']}"] if asset["doubt"] else []
    return "\n".join([*lines, "  nothing is overwritten"])


# -- carrying it out ------------------------------------------------------------------------------


def _go_on(context: Context, opened: Opened, run: Run) -> int:
    wiring, order = opened.wiring, run.order
    if wiring.loaded.digest != order["plan_sha256"]:
        raise UsageError(
            "the plan has changed since this recovery began",
            hint="put the plan back as it was, or cancel the recovery and begin another",
        )
    context.interrupted_hint = "nothing is lost: 'drctl recover --resume' goes on"
    with ExitStack() as last, run.journal.running(), ExitStack() as first:
        _declare(run)
        assets = {  # from the snapshots that were decided on, whatever is newer by now
            name: returning(opened, name, asset["to"], order["at_ns"], asset["snapshot"])
            for name, asset in order["assets"].items()
        }
        graph = graph_of(wiring, order, {n: bool(a.counts_due) for n, a in assets.items()})
        place = _place_of(opened, run, assets)
        acting = Acting(place)
        first.callback(acting.close)
        state = Runner(graph, run.journal, acting, wiring.clock, wiring.report).run()
        last.callback(keep_recovery, wiring, run, graph, state, assets)  # also if one stays up
    return _show(context, wiring, run, graph)


def _declare(run: Run) -> None:
    """Or resume what was declared before."""
    before = run.journal.events()
    if not before:
        run.journal.append("declared", at_ns=run.order["declared_ns"], mode=run.order["mode"])
    elif before[-1]["event"] != "declared":
        runs.end_what_was_left(run)
        run.journal.append("resumed", host=socket.gethostname())


def _place_of(opened: Opened, run: Run, assets: dict[str, Returning]) -> Place:
    wiring = opened.wiring
    return Place(
        run_id=run.name,
        reader=opened.reader,
        pool=opened.pool,
        assets=assets,
        programs=Programs(wiring.loaded.base, {"DRCTL_MODE": run.order["mode"]}),
        journal=run.journal,
        clock=wiring.clock,
        report=wiring.report,
        keeps_up=False,
        tell=partial(tell_step, wiring, run.order["mode"]),
    )


# -- how it stands --------------------------------------------------------------------------------


def _show(context: Context, wiring: Wiring, run: Run, graph: Graph) -> int:
    """How a run stands. Exit code 10 when it ended otherwise than it should."""
    state = replay(graph, run.journal.events())
    context.result(_document(run, graph, state), _text(run, graph, state))
    if run.journal.is_running():
        wiring.report.emit(Notice("info", "it has not ended: see --watch"))
    elif not state.ending:
        wiring.warn(NOBODY)
    elif not why_final(state):
        words = "--resume tries again what failed; --cancel --by NAME, then --resume, undoes it"
        wiring.report.emit(Notice("info", words))
    return ExitCode.DONE if state.ending in {"", "done"} else ExitCode.OBJECTIVE_MISSED


def _document(run: Run, graph: Graph, state: State) -> dict[str, Any]:
    found = timing(graph, state)
    return {
        "run": run.name,
        "mode": run.order["mode"],
        "ending": state.ending,
        "cancelled_by": state.cancelled_by,
        "rta_seconds": found.rta_seconds,
        "machine_seconds": found.machine_seconds,
        "human_seconds": found.human_seconds,
        "steps": [
            {
                "step": step.name,
                "kind": step.kind,
                "status": state[step.name].status,
                "attempts": state[step.name].attempts,
                "what": state[step.name].what,
                "by": state[step.name].by,
            }
            for step in graph.steps
        ],
    }


def _text(run: Run, graph: Graph, state: State) -> str:
    began = show_instant(state.began_ns)
    head = f"{run.order['mode']} declared {began}, run {run.name}"
    going = "going on" if run.journal.is_running() else "cut off"
    lines = [f"{head}: {state.ending or going}"]
    for step in graph.steps:
        at = state[step.name]
        took = show_seconds((at.ended_ns - at.asked_ns) / 1e9) if at.ended_ns else ""
        lines.append(f"  {step.name[:23]:24}{at.status:10}{took:>8}  {at.what}".rstrip())
    found = timing(graph, state)
    if found.rta_seconds is not None:
        lines.append(
            f"  all is back after {show_seconds(found.rta_seconds)}: "
            f"machine {show_seconds(found.machine_seconds)}, "
            f"people {show_seconds(found.human_seconds)}"
        )
    return "\n".join(lines)
