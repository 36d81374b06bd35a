"""Prove that a repository is whole."""

import os
from concurrent.futures import ThreadPoolExecutor
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
from drctl.cli.emptied import way_back
from drctl.cli.mending import opened_mended
from drctl.cli.reading import source_of
from drctl.errors import ExitCode, UsageError
from drctl.ops.repair import Hands, RepairResult, repair
from drctl.ops.verify import Effort, VerifyResult, rebuild_index, verify
from drctl.repository.catalog import Catalog
from drctl.repository.repository import Repository
from drctl.units import count, show_bytes

if TYPE_CHECKING:
    from drctl.codec.recipients import Identity
    from drctl.wiring import Wiring


_CURE = """\
  A damaged object is used again by later backups as long as it lies there: run
  'drctl verify --repair'. A sound one from another repository takes its place; where there
  is none, what is sound in a damaged pack is saved, and the next backup stores the rest anew.
  A snapshot that nothing mends is given up by 'drctl forget SNAPSHOT'."""
_LEFT = """\
  What was not mended no other repository of the plan has sound. 'drctl backup' stores anew what
  the sources still have: do that, and verify again. Only snapshots that are named above then are
  not whole; the others are. 'drctl forget SNAPSHOT' gives one of those up, for ever."""


@click.command()
@click.argument("named", required=False, metavar="[REPOSITORY]")
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
@click.option("--repair", "repairing", is_flag=True, help="Mend what is damaged or missing.")
@from_option
@as_of_option
@kit_option
@identity_option
@output_options
@pass_context
def command(
    context: Context,
    named: str | None,
    percent: float,
    keyless: bool,
    rebuild_index: bool,
    repairing: bool,
    repository: str | None,
    identity_path: str | None,
) -> int:
    """Prove that a REPOSITORY, the first of the plan by default, is whole, as deep as the keys at
    hand allow. Copies are proven by naming each.

    Without keys: every object is what its name says. With the writer credential: everything that
    a snapshot needs is there. With an identity (--identity, or DRCTL_PASSPHRASE is set): all
    entries, and the data that is read, open and are what was written.

    With --repair what is found damaged or missing is mended: from another repository of the plan,
    or by saving what is sound in a pack, which needs an identity. Then everything is looked at once
    more, and that is the result.
    """
    wiring, pool = context.wiring(), context.pool()
    if named and repository and named != repository:
        raise UsageError(f"either {named} or {repository}", hint="one repository at a time")
    name = context.subject = source_of(context, wiring, named or repository)
    identity = None if keyless else _identity(context, wiring, identity_path)
    opened, mended = None, RepairResult()
    if not keyless:
        opened, mended = _opened(wiring, name, identity, pool, repairing=repairing)
    if opened and rebuild_index:
        _rebuild(context, opened)
    day = wiring.clock.now_ns() // (86400 * 10**9)
    storage = opened.storage if opened else wiring.storage(name)
    effort = Effort(percent, day)
    done = verify(storage, opened, identity, effort, pool, wiring.report)
    if repairing and done.damaged:
        copies = [wiring.storage(n) for n in wiring.loaded.plan.repositories if n != name]
        hands = Hands(storage, copies, opened, identity, pool, wiring.report)
        mended = mended.with_more(repair(hands, done.damaged, wiring.clock, wiring.randomness))
        # What holds is what a second look finds, not what the repair believes.
        done = verify(storage, opened, identity, effort, pool, wiring.report)
    if opened:
        done.wrong += _lost(wiring, name, opened.secrets.repository_id, done)
        if not done.snapshots and (left := way_back(wiring, name, opened, Catalog((), ()))):
            wiring.warn(f"{done.where}: {left}")
    wiring.tell_if_lapsed(name)
    others = [n for n in wiring.loaded.plan.repositories if n != name]
    text = "\n".join(
        [*_lines(mended), *_text(name, done, repairing), *_unlocked(wiring), *_unseen(others)]
    )
    context.result({**_document(name, done, mended), "locks_lost": wiring.lapsed()}, text)
    if done.wrong:
        return ExitCode.INTEGRITY
    return ExitCode.PARTIAL if wiring.lapsed() else ExitCode.DONE


def _identity(context: Context, wiring: "Wiring", path: str | None) -> "Identity | None":
    """Nobody is asked for a passphrase who did not name an identity: cron runs this too."""
    from drctl.private import PASSPHRASE

    is_given = bool(path or context.kit())
    if not is_given and not (
        os.environ.get(PASSPHRASE) and os.path.exists(wiring.loaded.identity_path())
    ):
        return None
    return context.identity(wiring, path)


def _opened(
    wiring: "Wiring",
    name: str,
    identity: "Identity | None",
    pool: ThreadPoolExecutor,
    *,
    repairing: bool,
) -> tuple[Repository, RepairResult]:
    """The repository, and what had to be mended for that."""

    def open_it() -> Repository:
        if identity:
            return wiring.as_reader(name, identity, fresh=True)
        return wiring.as_writer(name, fresh=True)

    if repairing:
        return opened_mended(wiring, name, open_it, pool)
    return open_it(), RepairResult()


def _rebuild(context: Context, opened: object) -> None:
    assert isinstance(opened, Repository)  # noqa: S101 - it was just opened
    rebuild_index(opened, context.report)


def _lines(mended: RepairResult) -> list[str]:
    return [
        *(f"mended: {name}, from {where}" for name, where in mended.fetched.items()),
        *(f"saved: {name}: {what}; the rest is gone" for name, what in mended.saved.items()),
        *(f"made again: {name}, for {who}" for name, who in mended.made.items()),
        *(f"taken away: {name}: {told}" for name, told in mended.dropped.items()),
        *(f"as it was: {name}: {why}" for name, why in mended.left.items()),
    ]


def _document(name: str, done: VerifyResult, mended: RepairResult) -> dict[str, object]:
    return {
        "name": name,
        "repository": done.where,
        "depth": done.depth,
        "objects": done.objects,
        "read_bytes": done.read_bytes,
        "snapshots": done.snapshots,
        "entries": done.entries,
        "wrong": done.wrong,
        "damaged": done.damaged,
        "repaired": {
            "fetched": mended.fetched,
            "saved": mended.saved,
            "made": mended.made,
            "dropped": mended.dropped,
            "left": mended.left,
        },
    }


def _lost(wiring: "Wiring", name: str, repository_id: bytes, done: VerifyResult) -> list[str]:
    """A repository that somebody emptied is whole in itself. This host knows better: it remembers
    each asset that it has saved, and no rule removes an asset's last snapshot."""
    from drctl.homes import state_home
    from drctl.repository.state import remembered

    home = os.path.join(state_home(), repository_id.hex())
    known = [asset for asset in remembered(home) if asset in wiring.loaded.plan.assets]
    if name != wiring.primary() and done.snapshots:
        known = []  # one that is only behind lacks an asset, too: 'status' tells of that
    wrong = [
        f"{done.where}: there is no snapshot of {asset}, though this host has saved it: what was "
        "there was deleted or lost. Another repository may have it: see 'drctl replicate --help'"
        for asset in known
        if asset not in done.assets
    ]
    for what in wrong:
        wiring.warn(what)
    return wrong


def _unlocked(wiring: "Wiring") -> list[str]:
    return [f"but the plan lost the lock of {name}" for name in wiring.lapsed()]


def _unseen(others: list[str]) -> list[str]:
    return [f"not looked at: {', '.join(others)}; see 'drctl verify {others[0]}'"] if others else []


def _text(name: str, done: VerifyResult, repaired: bool) -> list[str]:
    objects = count(done.objects, "object", "objects")
    looked = [f"{objects} read ({show_bytes(done.read_bytes)})"]
    if done.depth != "scrub":
        looked.append(count(done.snapshots, "snapshot", "snapshots"))
    if done.depth == "content":
        looked.append(count(done.entries, "entry", "entries"))
    state = f"{len(done.wrong)} WRONG" if done.wrong else "all is well"
    told = f"{name}, {done.where}: {state}: {', '.join(looked)}; depth: {done.depth}"
    return [told, _LEFT if repaired else _CURE] if done.damaged else [told]
