"""List snapshots."""

import click

from drctl.cli.context import (
    Context,
    from_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.reading import source_of
from drctl.errors import ExitCode
from drctl.events import Notice
from drctl.report.results import snapshot_document, snapshot_table
from drctl.repository import catalog


@click.command()
@click.argument("asset", required=False)
@from_option
@kit_option
@output_options
@pass_context
def command(context: Context, asset: str | None, repository: str | None) -> int:
    """List snapshots, of one ASSET or of all, oldest first. Needs the writer credential only,
    or a recovery kit."""
    wiring = context.wiring()
    name = source_of(context, wiring, repository)
    kit = context.kit()
    opened = wiring.as_reader(name, kit.identity) if kit else wiring.as_writer(name)
    found = catalog.load(opened, context.pool())
    for damaged in found.damaged:
        wiring.report.emit(Notice("warning", damaged))
    shown = found.of(asset) if asset else found.snapshots
    text = snapshot_table(shown) if shown else "no snapshots"
    context.result([snapshot_document(s) for s in shown], text)
    return ExitCode.INTEGRITY if found.damaged else ExitCode.DONE
