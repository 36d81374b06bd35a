"""Store databases' logs while they are written."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import UsageError
from drctl.ops.stream import Ending, OneAtATime, stream


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@output_options
@pass_context
def command(context: Context, assets: tuple[str, ...]) -> None:
    """Follow the log of each ASSET, by default of all that say 'stream: true', until a signal.

    It runs as a service: whatever fails is told and tried again, and goes on where the stored log
    ends. Ctrl-C or SIGTERM end it, after what came in is stored.
    """
    wiring = context.wiring()
    report = OneAtATime(wiring.report)
    wanted = assets or wiring.streamed()
    if not wanted:
        raise UsageError(
            "no asset of the plan is streamed",
            hint="give a postgres or mariadb asset 'stream: true'",
        )
    repository = wiring.as_writer(wiring.primary())
    followers = [(name, wiring.follower(name, repository, report)) for name in wanted]
    stream(followers, Ending(), wiring.clock, report)
