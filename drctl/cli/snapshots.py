"""List snapshots."""

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.reading import source_of
from drctl.errors import ExitCode
from drctl.events import Notice
from drctl.ops import group
from drctl.report.results import snapshot_document, snapshot_table
from drctl.repository import catalog, holds, names


@click.command()
@click.argument("asset", required=False, metavar="[ASSET|GROUP]")
@click.option("--deleted", is_flag=True, help="Those that 'drctl undelete' can bring back.")
@from_option
@as_of_option
@kit_option
@output_options
@pass_context
def command(context: Context, asset: str | None, deleted: bool, repository: str | None) -> int:
    """List snapshots, of one ASSET, of a GROUP or of all, oldest first. Needs the writer credential
    only, or a recovery kit."""
    wiring = context.wiring()
    name = source_of(context, wiring, repository)
    kit = context.kit()
    opened = wiring.as_reader(name, kit.identity) if kit else wiring.as_writer(name)
    folder = names.TRASHED if deleted else names.SNAPSHOTS
    found = catalog.load(opened, context.pool(), folder)
    held = holds.load(opened)
    for damaged in found.damaged:
        wiring.report.emit(Notice("warning", damaged))
    shown = found.of(asset) if asset else found.snapshots
    if asset and not shown:
        shown = tuple(s for s in found.snapshots if s.facts.get(group.NAME) == asset)
    text = snapshot_table(shown, held) if shown else "no snapshots"
    context.result([snapshot_document(s) | {"held": held.get(s.name)} for s in shown], text)
    return ExitCode.INTEGRITY if found.damaged else ExitCode.DONE
