"""Leave a held snapshot to the rules again."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.everywhere import at_every_repository
from drctl.repository import holds


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@output_options
@pass_context
def command(context: Context, snapshots: tuple[str, ...]) -> int:
    """Take all holds from SNAPSHOTs, at every repository of the plan that has them."""
    return at_every_repository(
        context,
        snapshots,
        "no longer held",
        lambda _place, repository, name, _clock: bool(holds.release(repository, name)),
    )
