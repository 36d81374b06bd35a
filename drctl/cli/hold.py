"""Keep a snapshot whatever the rules say."""

from contextlib import suppress

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.everywhere import at_every_repository
from drctl.errors import DrctlError
from drctl.ops.hold import hold
from drctl.repository import names, trash
from drctl.wiring import Wiring


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@click.option("--reason", default="", metavar="TEXT", help="Why; shown by prune and snapshots.")
@output_options
@pass_context
def command(context: Context, snapshots: tuple[str, ...], reason: str) -> int:
    """Hold SNAPSHOTs, at every repository of the plan that has them: no rule removes them."""
    wiring = context.wiring()
    now_ns = wiring.clock.now_ns()
    ended = at_every_repository(
        context,
        snapshots,
        "held",
        lambda _, repository, name, clock: hold(repository, name, reason, now_ns, clock),
    )
    _tell_of_trash(wiring, snapshots)
    return ended


def _tell_of_trash(wiring: Wiring, typed: tuple[str, ...]) -> None:
    """Who holds a snapshot believes that it stays wherever it was."""
    for place in wiring.loaded.plan.repositories:
        with suppress(DrctlError):  # one that does not answer was told
            storage = wiring.storage(place)
            gone = trash.listed(storage, names.TRASHED) - trash.listed(storage, names.SNAPSHOTS)
            for text in typed:
                if any(digest.startswith(text.lower()) for digest in gone):
                    wiring.warn(
                        f"{place} has {text} in its trash, where it is not held: 'drctl undelete "
                        f"{text}' brings it back; then hold it again"
                    )
