"""Prove that a repository is whole."""

import os
from typing import TYPE_CHECKING

import click

from drctl.cli.context import (
    Context,
    as_of_option,
    from_option,
    identity_option,
    kit_option,
    output_options,
    pass_context,
)
from drctl.cli.reading import source_of
from drctl.errors import ExitCode
from drctl.ops.verify import Effort, VerifyResult, rebuild_index, verify
from drctl.units import show_bytes

if TYPE_CHECKING:
    from drctl.codec.recipients import Identity
    from drctl.wiring import Wiring


_CURE = """\
  A damaged object is used again by later backups as long as it lies there. Move it out of
  the repository; then 'drctl replicate --from COPY --to THIS' brings a sound one from a
  copy, or the next backup stores anew what its source still has."""


@click.command()
@click.option(
    "--read-data",
    "percent",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="Read so much of the data, another part each day.",
)
@click.option("--keyless", is_flag=True, help="Only what needs no key: every object's own proof.")
@click.option("--rebuild-index", is_flag=True, help="Index the packs that no index names.")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    percent: float,
    keyless: bool,
    rebuild_index: bool,
    repository: str | None,
    identity_path: str | None,
) -> int:
    """Prove that a repository is whole, as deep as the keys at hand allow.

    Without keys: every object is what its name says. With the writer credential: everything that
    a snapshot needs is there. With an identity (--identity, or DRCTL_PASSPHRASE is set): all
    entries, and the data that is read, open and are what was written.
    """
    wiring, pool = context.wiring(), context.pool()
    name = source_of(context, wiring, repository)
    storage = wiring.storage(name)
    identity = None if keyless else _identity(context, wiring, identity_path)
    opened = None
    if not keyless:
        opened = (
            wiring.as_reader(name, identity, fresh=True)
            if identity
            else wiring.as_writer(name, fresh=True)
        )
    if opened and rebuild_index:
        _rebuild(context, opened)
    day = wiring.clock.now_ns() // (86400 * 10**9)
    done = verify(storage, opened, identity, Effort(percent, day), pool, wiring.report)
    context.result(_document(done), _text(done))
    return ExitCode.INTEGRITY if done.wrong else ExitCode.DONE


def _identity(context: Context, wiring: "Wiring", path: str | None) -> "Identity | None":
    """Nobody is asked for a passphrase who did not name an identity: cron runs this too."""
    from drctl.wiring import PASSPHRASE

    is_given = bool(path or context.kit())
    if not is_given and not (os.environ.get(PASSPHRASE) and os.path.exists(wiring.identity_path())):
        return None
    return context.identity(wiring, path)


def _rebuild(context: Context, opened: object) -> None:
    from drctl.repository.repository import Repository

    assert isinstance(opened, Repository)  # noqa: S101 - it was just opened
    rebuild_index(opened, context.report)


def _document(done: VerifyResult) -> dict[str, object]:
    return {
        "repository": done.where,
        "depth": done.depth,
        "objects": done.objects,
        "read_bytes": done.read_bytes,
        "snapshots": done.snapshots,
        "entries": done.entries,
        "wrong": done.wrong,
    }


def _text(done: VerifyResult) -> str:
    looked = [f"{done.objects} objects read ({show_bytes(done.read_bytes)})"]
    if done.depth != "scrub":
        looked.append(f"{done.snapshots} snapshots")
    if done.depth == "content":
        looked.append(f"{done.entries} entries")
    state = f"{len(done.wrong)} WRONG" if done.wrong else "all is well"
    told = f"{done.where}: {state}: {', '.join(looked)}; depth: {done.depth}"
    return f"{told}\n{_CURE}" if done.wrong else told
