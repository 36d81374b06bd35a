"""Bring a removed snapshot back."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.everywhere import at_every_repository
from drctl.ops.undelete import undelete
from drctl.repository import names


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@output_options
@pass_context
def command(context: Context, snapshots: tuple[str, ...]) -> int:
    """Bring SNAPSHOTs back that 'drctl prune' removed, wherever they are still in the trash.

    'drctl snapshots --deleted' lists them. Hold them, or mend the rule, before the next prune.
    """
    return at_every_repository(
        context,
        snapshots,
        "brought back",
        lambda repository, name, clock: bool(undelete(repository, name, clock)),
        folder=names.TRASHED,
    )
