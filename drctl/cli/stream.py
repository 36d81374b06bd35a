"""Store databases' logs while they are written."""

import traceback

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import UsageError
from drctl.ops.stream import Bugs, Copying, Ending, OneAtATime, stream
from drctl.units import parse_duration


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@click.option(
    "--copy-every",
    default="10s",
    show_default=True,
    metavar="DURATION",
    help="How often the logs are copied to the plan's other repositories.",
)
@output_options
@pass_context
def command(context: Context, assets: tuple[str, ...], copy_every: str) -> None:
    """Follow the log of each ASSET, by default of all that say 'stream: true', until a signal.

    It runs as a service: whatever fails is told and tried again, and goes on where the stored log
    ends. Every few seconds the plan's other repositories get what they lack of it. Ctrl-C or
    SIGTERM end it, after what came in is stored.
    """
    wiring = context.wiring()
    report = OneAtATime(wiring.report)
    context.subject = " ".join(assets)
    wanted = assets or wiring.streamed()
    if not wanted:
        raise UsageError(
            "no asset of the plan is streamed",
            hint="give a postgres or mariadb asset 'stream: true'",
        )
    primary = wiring.primary()
    repository = wiring.as_writer(primary)
    followers = [(name, wiring.follower(name, repository, report)) for name in wanted]
    copies = tuple(wiring.storage(name) for name in wiring.others())
    bugs = Bugs(traceback.print_exception)
    origin = wiring.storage(primary)
    copying = Copying(origin, copies, context.pool(), _seconds(copy_every), bugs)
    stream(followers, copying, Ending(), wiring.clock, report)


def _seconds(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--copy-every: {error}") from error
    if seconds <= 0:
        raise UsageError("--copy-every: longer than nothing is wanted")
    return seconds
