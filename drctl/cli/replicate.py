"""Bring every copy up to date."""

from dataclasses import replace

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    output_options,
    pass_context,
)
from drctl.storage.local import Local
from drctl.units import show_bytes


@click.command()
@click.option("--to", "to", metavar="REPOSITORY", help="Only to this one; made if it is not there.")
@from_option
@as_of_option
@output_options
@pass_context
def command(context: Context, to: str | None, repository: str | None) -> None:
    """Copy to every other repository of the plan what it does not hold yet, still sealed.

    A copy without 'keep' gets everything, and no key is needed, but to lock what is copied the
    writer credential. One with a rule of its own gets what the rule keeps, which needs it, too.
    """
    wiring, pool = context.wiring(), context.pool()
    origin = repository or wiring.primary()
    source = wiring.storage(origin)
    now = replace(wiring, as_of_ns=None)
    if to:
        bare = now.bare_storage(to)
        if isinstance(bare, Local):
            bare.create()
    document = {}
    lines = []
    for name in [to] if to else [n for n in wiring.loaded.plan.repositories if n != origin]:
        done = now.replicate(name, pool, source)
        now.keep_locked(name, pool)
        document[name] = {
            "objects": done.objects,
            "size_bytes": done.size_bytes,
            "present": done.present,
        }
        copied = f"{done.objects} objects, {show_bytes(done.size_bytes)}"
        lines.append(f"{name}: copied {copied}; {done.present} were there")
    context.result(document, "\n".join(lines) or "the plan has no copy to bring up to date")
