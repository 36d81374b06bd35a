"""Bring every copy up to date."""

from dataclasses import replace
from typing import Any

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_plan_option,
    output_options,
    pass_context,
)
from drctl.cli.copies import must_be_there
from drctl.errors import DrctlError, ExitCode, UsageError
from drctl.ops.replicate import ReplicateResult
from drctl.storage.local import Local
from drctl.units import count, show_bytes


@click.command()
@click.option("--to", "to", metavar="REPOSITORY", help="Only to this one; made if it is not there.")
@click.option(
    "--verify", "proving", is_flag=True, help="Read what the copy holds, and mend what is damaged."
)
@from_plan_option
@as_of_option
@output_options
@pass_context
def command(context: Context, to: str | None, proving: bool, repository: str | None) -> int:
    """Copy to every other repository of the plan what it does not hold yet, still sealed.

    A copy without 'keep' gets everything, and no key is needed, but to lock what is copied the
    writer credential. One with a rule of its own gets what the rule keeps, which needs it, too.

    What the copy holds under the same name and with the same length counts as the same; with
    --verify it is read, and replaced where it is not. Nothing damaged is ever copied. A copy that
    cannot be reached keeps no other from being brought up to date.
    """
    wiring, pool = context.wiring(), context.pool()
    origin = repository or wiring.primary()
    source = wiring.replicated(origin)
    if to == origin:
        raise UsageError(
            f"{to} cannot be copied to itself",
            hint="--from names where to copy from, --to another repository of the plan",
        )
    now = replace(wiring, as_of_ns=None)
    if to:
        bare = now.bare_storage(to)
        if isinstance(bare, Local):
            bare.create()
    names = [to] if to else [n for n in wiring.loaded.plan.repositories if n != origin]
    document: dict[str, dict[str, Any]] = {}
    lines = []
    failed: list[DrctlError] = []
    for name in names:
        try:
            if not to:
                must_be_there(now, name)
            done = now.replicate(name, pool, source, proving=proving)
            now.keep_locked(name, pool)
        except DrctlError as error:
            if len(names) == 1:
                raise
            failed.append(error)
            wiring.warn(f"{name} is behind: {error.what}")
            document[name] = {"failed": error.what}
            continue
        document[name] = _document(done)
        lines.append(_line(name, done))
    context.result(document, "\n".join(lines) or _nothing(names))
    if failed:
        return failed[0].exit_code
    return ExitCode.PARTIAL if wiring.lapsed() else ExitCode.DONE


def _nothing(names: list[str]) -> str:
    return "no copy was brought up to date" if names else "the plan has no copy to bring up to date"


def _document(done: ReplicateResult) -> dict[str, Any]:
    return {
        "objects": done.objects,
        "size_bytes": done.size_bytes,
        "present": done.present,
        "mended": done.mended,
    }


def _line(name: str, done: ReplicateResult) -> str:
    copied = f"{count(done.objects, 'object', 'objects')}, {show_bytes(done.size_bytes)}"
    mended = f", {done.mended} of them damaged, and mended" if done.mended else ""
    return f"{name}: copied {copied}; {count(done.present, 'was', 'were')} there{mended}"
