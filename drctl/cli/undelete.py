"""Bring a removed snapshot back."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.everywhere import at_every_repository
from drctl.clock import Clock
from drctl.events import Notice
from drctl.ops.undelete import goes_again, undelete
from drctl.repository import names
from drctl.repository.repository import Repository


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@output_options
@pass_context
def command(context: Context, snapshots: tuple[str, ...]) -> int:
    """Bring SNAPSHOTs back that 'drctl prune' removed, wherever they are still in the trash.

    'drctl snapshots --deleted' lists them. Hold them, or mend the rule, before the next prune.
    """
    wiring, pool = context.wiring(), context.pool()

    def bring_back(place: str, repository: Repository, name: str, clock: Clock) -> bool:
        undelete(repository, name, clock)
        if goes_again(repository, name, wiring.rule(place), pool):
            what = f"{place}: its 'keep' does not keep {name[:8]}: the next prune removes it again"
            wiring.report.emit(Notice("warning", f"{what}; 'drctl hold {name[:8]}' keeps it"))
        return True

    return at_every_repository(context, snapshots, "brought back", bring_back, folder=names.TRASHED)
