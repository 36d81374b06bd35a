"""What differs between two snapshots."""

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    identity_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.reading import Opened, open_for_reading
from drctl.cli.standard import say_lines
from drctl.errors import UsageError
from drctl.model import Snapshot
from drctl.ops.compare import changes
from drctl.report.results import snapshot_document
from drctl.repository import catalog, suspects
from drctl.units import show_path

_MARKS = {"added": "+", "removed": "-", "content": "M", "metadata": "m", "kind": "T"}


@click.command()
@click.argument("before", metavar="ASSET|SNAPSHOT")
@click.argument("after", metavar="[SNAPSHOT]", required=False)
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    before: str,
    after: str | None,
    repository: str | None,
    identity_path: str | None,
) -> None:
    """Show what differs between two snapshots, or between the last two of an ASSET. Where its
    newest is SUSPECT, it is compared with the last good one.

    + added, - removed, M content, m metadata only, T another kind of thing.
    """
    typed = [before] if after is None else [before, after]
    opened = open_for_reading(context, repository, identity_path, typed)
    old, new = _last_two(opened, before) if after is None else map(opened.pick, (before, after))
    read = opened.reader.entries
    found = changes(read(opened.root(old)), read(opened.root(new)))
    if not context.as_json:
        lines = (f"{_MARKS[change.what]} {show_path(change.path)}" for change in found)
        say_lines(lines, context.command)
        return
    document = {
        "before": snapshot_document(old),
        "after": snapshot_document(new),
        "changes": [{"path": show_path(c.path), "what": c.what} for c in found],
    }
    context.result(document, "")


def _last_two(opened: Opened, asset: str) -> tuple[Snapshot, Snapshot]:
    """Where the newest is suspect, what it is compared with is the last good one, however many
    stand between them."""
    picked = catalog.pick(
        opened.found, asset, None, tuple(opened.wiring.loaded.plan.assets), opened.host
    )
    found = opened.found.beside(picked)
    if asset.partition("@")[0] != picked.asset or len(found) < 2:
        raise UsageError(
            f"'{asset}' does not name two snapshots", hint="name two, or an asset that has two"
        )
    *before, newest = found
    if newest.suspect:
        old = suspects.newest(before)
        opened.wiring.warn(f"{suspects.warning(newest, found)}; compared with {old.short}")
        return old, newest
    return before[-1], newest
