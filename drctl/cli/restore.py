"""Put a snapshot back, whole or in part."""

from typing import Any

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    identity_option,
    instant,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.goals import check_delta, goal_of, goal_options
from drctl.cli.reading import Opened, open_for_reading
from drctl.errors import ExitCode
from drctl.events import Notice
from drctl.model import Snapshot
from drctl.ops.restore import RestoreResult, restore
from drctl.report.results import problem_documents, snapshot_document
from drctl.units import count, show_bytes, show_instant, show_seconds


@click.command()
@click.argument("snapshot", metavar="ASSET|SNAPSHOT")
@click.option("--to", "to", required=True, metavar="TARGET", help="Where it is put.")
@click.option("--at", metavar="TIME", help="As it was at TIME; without a log, the newest before.")
@goal_options
@click.option("--path", "paths", multiple=True, metavar="PATH", help="Only this; may be repeated.")
@click.option("--delta", is_flag=True, help="Write over a stopped cluster, only what differs.")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    snapshot: str,
    to: str,
    at: str | None,
    until: str | None,
    timeline: str,
    paths: tuple[str, ...],
    delta: bool,
    repository: str | None,
    identity_path: str | None,
) -> int:
    """Put the newest snapshot of an ASSET, or a given SNAPSHOT, into TARGET.

    A tree goes below the directory TARGET, which must be empty or not exist. A database or a
    command's output goes to the file TARGET, or into the directory TARGET. Nothing that exists is
    ever overwritten, but for a stopped database cluster with --delta. Of a database whose log is
    kept, the log is replayed: to its end, or up to --at or --until.
    """
    opened = open_for_reading(context, repository, identity_path)
    at_ns = instant(opened.wiring, at)
    picked = opened.pick(snapshot, at_ns)
    goal = goal_of(picked.engine, at_ns, until, timeline)
    check_delta(picked.engine, delta=delta, paths=paths)
    root = opened.root(picked)
    wanted = opened.paths(root, paths)
    context.interrupted_hint = f"{to} is not whole: remove it and restore again"
    _announce(opened, picked, to)
    done = restore(
        picked,
        opened.repository,
        opened.reader,
        opened.target(picked, root, to, goal, delta=delta),
        opened.pool,
        opened.wiring.clock,
        opened.wiring.report,
        wanted,
    )
    context.result(_document(done, to), _text(done, to))
    if done.damaged:
        return ExitCode.INTEGRITY
    return ExitCode.PARTIAL if done.problems else ExitCode.DONE


def _announce(opened: Opened, picked: Snapshot, to: str) -> None:
    """What is about to be done, before it is done."""
    at = show_instant(picked.consistent_at_ns)
    text = f"{picked.asset} as of {at} from {opened.repository.where} to {to}"
    opened.wiring.report.emit(Notice("info", text))


def _document(done: RestoreResult, to: str) -> dict[str, Any]:
    return {
        "snapshot": snapshot_document(done.snapshot),
        "to": to,
        "entries": done.entries,
        "size_bytes": done.size_bytes,
        "seconds": round(done.seconds, 3),
        "damaged": done.damaged,
        "entry_problems": problem_documents(done.problems),
    }


def _text(done: RestoreResult, to: str) -> str:
    head = (
        f"restored {count(done.entries, 'entry', 'entries')}, {show_bytes(done.size_bytes)}, "
        f"in {show_seconds(done.seconds)} to {to}"
    )
    if not done.problems:
        return head
    damaged = f"; {done.damaged} are DAMAGED in the repository" if done.damaged else ""
    there = count(len(done.problems), "entry is", "entries are")
    return f"{head}\n{there} not as saved{damaged}"
