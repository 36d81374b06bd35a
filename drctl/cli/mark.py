"""Write a marker into live assets, to measure by it how fresh a copy is."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import DrctlError, UsageError
from drctl.events import Notice
from drctl.units import iso_instant


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET]...")
@output_options
@pass_context
def command(context: Context, assets: tuple[str, ...]) -> int:
    """Write a marker row into each ASSET that the plan wants marked, all of them by default.

    Each backup does the same. Where a log is streamed, run this every minute: what a drill then
    finds of it tells to the minute how much would have been lost.
    """
    wiring = context.wiring()
    unknown = [name for name in assets if name not in wiring.loaded.plan.assets]
    if unknown:
        raise UsageError(f"the plan has no asset '{unknown[0]}'")
    markers = {name: wiring.marker(name) for name in assets or wiring.loaded.plan.assets}
    unmarked = [name for name in assets if markers[name] is None]
    if unmarked:
        raise UsageError(
            f"{unmarked[0]} is not marked", hint="set 'mark: true' there, where its engine can"
        )
    now_ns = wiring.clock.now_ns()
    failed: dict[str, DrctlError] = {}
    for name, marker in markers.items():
        try:
            if marker:
                marker.write(now_ns)
        except DrctlError as error:
            failed[name] = error
            text = f"{error.what} ({error.hint})" if error.hint else error.what
            wiring.report.emit(Notice("warning", f"{name}: {text}"))
    done = [name for name, marker in markers.items() if marker and name not in failed]
    document = {"at": iso_instant(now_ns), "marked": done, "failed": list(failed)}
    context.result(document, f"marked: {', '.join(done) or 'nothing'}")
    return next((error.exit_code for error in failed.values()), 0)
