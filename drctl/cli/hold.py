"""Keep a snapshot whatever the rules say."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.everywhere import at_every_repository
from drctl.ops.hold import hold


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@click.option("--reason", default="", metavar="TEXT", help="Why; shown by prune and snapshots.")
@output_options
@pass_context
def command(context: Context, snapshots: tuple[str, ...], reason: str) -> int:
    """Hold SNAPSHOTs, at every repository of the plan that has them: no rule removes them."""
    now_ns = context.wiring().clock.now_ns()
    return at_every_repository(
        context,
        snapshots,
        "held",
        lambda _, repository, name, clock: hold(repository, name, reason, now_ns, clock),
    )
