"""Bring every copy up to date."""

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.ops.replicate import replicate
from drctl.units import show_bytes


@click.command()
@output_options
@pass_context
def command(context: Context) -> None:
    """Copy to every other repository of the plan what it does not hold yet. Needs no key."""
    wiring, pool = context.wiring(), context.pool()
    source = wiring.storage(wiring.primary())
    document = {}
    lines = []
    for name in wiring.others():
        done = replicate(source, wiring.storage(name), pool, wiring.report)
        document[name] = {
            "objects": done.objects,
            "size_bytes": done.size_bytes,
            "present": done.present,
        }
        copied = f"{done.objects} objects, {show_bytes(done.size_bytes)}"
        lines.append(f"{name}: copied {copied}; {done.present} were there")
    context.result(document, "\n".join(lines) or "the plan has no copy to bring up to date")
