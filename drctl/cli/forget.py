"""Take a snapshot out of a repository, which no rule removes."""

from collections.abc import Iterable
from contextlib import suppress

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.reading import source_of, where_it_is
from drctl.errors import DrctlError, UsageError
from drctl.ops.forget import forget
from drctl.repository import names, trash
from drctl.units import count
from drctl.wiring import Wiring


@click.command()
@click.argument("snapshots", nargs=-1, required=True, metavar="SNAPSHOT...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--from", "repository", metavar="REPOSITORY", help="Remove it from this one; else the first."
)
@output_options
@pass_context
def command(
    context: Context, snapshots: tuple[str, ...], yes: bool, repository: str | None
) -> None:
    """Remove SNAPSHOTs from one repository, also damaged ones that do not read.

    First try 'drctl verify --repair', which mends what another repository has sound. A sound
    snapshot goes to the trash, and 'drctl undelete' brings it back within the grace period; what is
    damaged is set aside for as long. Other repositories keep what they have: name each with --from.
    """
    wiring = context.wiring()
    name = context.subject = source_of(context, wiring, repository)
    opened = wiring.as_writer(name, fresh=True)
    there = sorted(trash.listed(opened.storage, names.SNAPSHOTS))
    wanted = list(dict.fromkeys(_named(wiring, name, there, text) for text in snapshots))
    shown = ", ".join(digest[:8] for digest in wanted)
    what = f"{count(len(wanted), 'snapshot', 'snapshots')} of {opened.where} will go: {shown}"
    context.confirm(what, yes)
    done = {digest: forget(opened, digest) for digest in wanted}
    words = {"trashed": "is in the trash", "damaged": "is gone; what was damaged is set aside"}
    lines = [f"{name}: {digest[:8]} {words[how]}" for digest, how in done.items()]
    _tell_of_return(wiring, name, done)
    context.result({"repository": name, "forgotten": done}, "\n".join(lines))


def _named(wiring: Wiring, name: str, there: list[str], text: str) -> str:
    """Raises UsageError when it is too short, or does not name just one."""
    found = [digest for digest in there if digest.startswith(text.lower())]
    if len(text) >= 4 and not found:
        raise UsageError(
            f"{name} has no snapshot '{text}'",
            hint=where_it_is(wiring, text, reading=False)
            or "'drctl snapshots' and 'drctl verify' tell what there is",
        )
    if len(text) < 4 or len(found) != 1:
        raise UsageError(
            f"'{text}' does not name one snapshot that is there",
            hint="give more digits of its id; 'drctl snapshots' and 'drctl verify' tell them",
        )
    return found[0]


def _tell_of_return(wiring: Wiring, name: str, forgotten: Iterable[str]) -> None:
    """A copy is given again what the first repository has, unless its own rule leaves it out."""
    primary = wiring.primary()
    if name == primary:
        return
    with suppress(DrctlError):  # one that does not answer gives nothing back now
        there = trash.listed(wiring.storage(primary), names.SNAPSHOTS)
        back = [digest for digest in forgotten if digest in there]
        if back:
            shown = ", ".join(digest[:8] for digest in back)
            wiring.warn(
                f"{primary} still has {shown}: the next backup or 'drctl replicate' copies it to "
                f"{name} again, unless its 'keep' leaves it out; forget it in {primary}, too"
            )
