"""Take snapshots of assets, and bring the copies up to date."""

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import click
from msgspec.structs import replace

from drctl import __version__
from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.copies import must_be_there
from drctl.errors import DrctlError, ExitCode, StorageError
from drctl.events import Notice
from drctl.ops.backup import Around, BackupResult, backup
from drctl.ops.group import backup_group
from drctl.report.results import problem_documents, snapshot_document
from drctl.repository import keyring
from drctl.repository.repository import Repository
from drctl.units import count, show_bytes, show_seconds
from drctl.wiring import Wiring

_Asked = Callable[[Around], Around]  # with what a person asked for this once


@click.command()
@click.argument("assets", nargs=-1, metavar="[ASSET|GROUP]...")
@click.option("--accept", is_flag=True, help="What looks out of the ordinary is as it should be.")
@click.option("--reread", is_flag=True, help="Read also what did not change since the last run.")
@output_options
@pass_context
def command(context: Context, assets: tuple[str, ...], accept: bool, reread: bool) -> int:
    """Take a snapshot of each ASSET, of all by default, and bring the copies up to date.

    The assets of a GROUP are captured together, as one recovery point: all of them, or none.
    One asset's failure does not keep the others from being saved; the exit code is that of the
    first failure, or 11 when something is not whole. A snapshot that is far from what the asset's
    earlier ones were like is stored as SUSPECT, with a warning and exit code 11, until one is
    accepted.
    """
    wiring, pool = context.wiring(), context.pool(behind=True)
    groups = wiring.loaded.plan.groups
    wanted = tuple(dict.fromkeys(assets)) or wiring.units()
    for name in wanted:
        if name not in groups:
            wiring.asset(name, "")  # a name that is not there is told before anything is done
    context.subject = " ".join(assets)
    context.interrupted_hint = "nothing was lost; the next run takes over what was stored"
    repository = wiring.as_writer(wiring.primary())
    again = _make_lost_keys(wiring, repository)
    asked = partial(replace, accepting=accept, rereading=reread)

    def take(name: str) -> list[BackupResult]:
        kind = _group if name in groups else _one
        return kind(wiring, repository, name, pool, asked)

    # One alone is told once, when the run ends.
    warn = wiring.warn if len(wanted) > 1 or context.as_json else lambda _: None
    done, failed = each(wanted, take, warn)
    has_storage = not any(isinstance(error, StorageError) for error in failed.values())
    lagging = _copy(wiring, pool) if has_storage else {}
    lost = sorted({name for result in done for name in result.lost_packs})
    wrong = [_told_lost(repository, lost)] if lost else []
    for text in wrong:
        wiring.warn(text)
    document = {
        "snapshots": [_document(result) for result in done],
        "failed": {name: _failure(error) for name, error in failed.items()},
        "copies_behind": {name: error.what for name, error in lagging.items()},
        "keys_made_again": again,
        "lost_packs": lost,
        "wrong": wrong,
    }
    context.result(document, "\n".join(_line(result) for result in done))
    code = _conclude(context, done, failed, lagging)
    is_worse = again or lost or wiring.lapsed()
    return ExitCode.PARTIAL if is_worse and code == ExitCode.DONE else code


def each(
    wanted: Sequence[str],
    take: Callable[[str], list[BackupResult]],
    warn: Callable[[str], None],
) -> tuple[list[BackupResult], dict[str, DrctlError]]:
    """What was saved, and what was not: whatever is wrong with one, a bug in its engine too, keeps
    no other from being saved."""
    done: list[BackupResult] = []
    failed: dict[str, DrctlError] = {}
    for name in wanted:
        try:
            done += take(name)
        except DrctlError as error:
            failed[name] = error
        except Exception as error:  # noqa: BLE001 - a bug
            traceback.print_exc()
            failed[name] = DrctlError(f"a bug in drctl {__version__}: {error}")
        if name in failed:
            told = failed[name].what.removeprefix(f"{name}: ")
            warn(f"{name}: no snapshot: {told}")
    return done, failed


def _make_lost_keys(wiring: Wiring, repository: Repository) -> list[str]:
    """Before anything is stored that nobody could open with this repository alone. Whose keys were
    made again: what deleted them may have deleted more, so the run is not told as a good one."""
    made = keyring.make_lost(repository)
    for recipient in made:
        wiring.warn(
            f"{keyring.told_lost(repository.where, recipient)}: it was made again. See who deletes "
            "objects there, and what else is lost: run 'drctl verify'"
        )
    return [recipient.name for recipient in made]


def _told_lost(repository: Repository, lost: list[str]) -> str:
    """The backup itself is good; what the storage lost may be more than it could store anew."""
    packs, more = count(len(lost), "pack", "packs"), f" and {len(lost) - 1} more"
    return (
        f"{repository.where}: {packs} that snapshots need cannot be read any more: {lost[0]}"
        f"{more if len(lost) > 1 else ''}. What the sources still have of it was stored anew. "
        "'drctl verify' tells why and what else is lost, and with --repair brings back what "
        "another repository has; 'drctl forget SNAPSHOT' gives up what nothing brings back. Where "
        "objects are missing, see who deletes them there"
    )


def _one(
    wiring: Wiring, repository: Repository, name: str, pool: ThreadPoolExecutor, asked: _Asked
) -> list[BackupResult]:
    with wiring.around(name, repository, pool) as (around, scratch):
        _mark(wiring, name)
        return [backup(wiring.asset(name, scratch, repository), asked(around))]


def _mark(wiring: Wiring, name: str) -> None:
    """A backup without a new marker is better than none: a drill then finds the one before, and
    tells a greater loss than there was, never a smaller one."""
    try:
        marker = wiring.marker(name)
        if marker:
            marker.write(wiring.clock.now_ns())
    except DrctlError as error:
        text = f"{name}: no marker was written: {error.what}"
        wiring.report.emit(Notice("warning", f"{text} ({error.hint})" if error.hint else text))


def _group(
    wiring: Wiring, repository: Repository, name: str, pool: ThreadPoolExecutor, asked: _Asked
) -> list[BackupResult]:
    with ExitStack() as stack:
        parts = []
        for member in wiring.loaded.plan.groups[name].assets:
            around, scratch = stack.enter_context(wiring.around(member, repository, pool))
            parts.append((wiring.asset(member, scratch, repository), asked(around)))
        for asset, _ in parts:
            _mark(wiring, asset.name)
        return backup_group(wiring.group(name), parts)


def _copy(wiring: Wiring, pool: ThreadPoolExecutor) -> dict[str, DrctlError]:
    """A dead site never fails the copy that was made here."""
    behind: dict[str, DrctlError] = {}
    primary = wiring.primary()
    for name in (primary, *wiring.others()):
        try:
            if name != primary:
                must_be_there(wiring, name)
                wiring.replicate(name, pool)
            wiring.keep_locked(name, pool)
        except DrctlError as error:
            behind[name] = error
            text = f"{name} is behind: {error.what}"
            wiring.report.emit(Notice("warning", text))
    return behind


def _conclude(
    context: Context,
    done: list[BackupResult],
    failed: dict[str, DrctlError],
    lagging: dict[str, DrctlError],
) -> int:
    if len(failed) == 1 and not done and not context.as_json:
        raise next(iter(failed.values()))
    if failed and not context.as_json:
        click.echo(f"drctl: no snapshot of {', '.join(failed)}: see above", err=True)
        for name, error in failed.items():
            if error.hint:
                click.echo(f"  {name}: {error.hint}", err=True)
    if failed:
        return next(iter(failed.values())).exit_code
    is_partial = lagging or any(r.problems or r.snapshot.suspect for r in done)
    return ExitCode.PARTIAL if is_partial else ExitCode.DONE


def _failure(error: DrctlError) -> dict[str, Any]:
    return {"what": error.what, "hint": error.hint, "exit_code": int(error.exit_code)}


def _document(result: BackupResult) -> dict[str, Any]:
    return {
        **snapshot_document(result.snapshot),
        "new": result.new,
        "changed": result.changed,
        "unchanged": result.unchanged,
        "read_bytes": result.read_bytes,
        "seconds": round(result.seconds, 3),
        "entry_problems": problem_documents(result.problems),
    }


def _line(result: BackupResult) -> str:
    """Two lines, each within 80 columns."""
    s = result.snapshot
    suspect = "\n  SUSPECT: see the warning" if s.suspect else ""
    whole = "" if s.status == "complete" else f", {len(result.problems)} with problems"
    return (
        f"{s.asset}: snapshot {s.short} in {show_seconds(result.seconds)}: "
        f"{show_bytes(s.size_bytes)}, stored {show_bytes(s.added_bytes)}\n"
        f"  {count(s.entries, 'entry', 'entries')}: {result.new} new, {result.changed} changed, "
        f"{result.unchanged} unchanged{whole}{suspect}"
    )
