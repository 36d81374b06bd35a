"""Make and prove the recovery kit."""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from drctl.cli.change import Change, conclude, confirm, named_once, recipients
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
from drctl.cli.keyfiles import read_text, write_private
from drctl.codec import kit as codec
from drctl.codec.recipients import Recipient
from drctl.errors import DrctlError, ExitCode, TargetRefused, UsageError
from drctl.ops.kit import Blank, Proof, Shares, make, prove
from drctl.report.kit_pages import Place, pages
from drctl.repository import catalog
from drctl.units import iso_instant
from drctl.wiring import Wiring

_NAMED = "give the kit another name with --name"


@click.group(invoke_without_command=True)
@click.option("--to", "directory", metavar="DIR", help="Where it is written: new, or empty.")
@click.option("--need", default=2, show_default=True, help="How many shares open it.")
@click.option("--of", default=3, show_default=True, help="How many shares there are.")
@click.option("--name", help="Name of the kit; else the day, as kit-2026-11-25.")
@click.option("--without-credentials", is_flag=True, help="Leave the storage's secrets out.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@identity_option
@output_options
@pass_context
@click.pass_context
def command(
    click_context: click.Context,
    context: Context,
    directory: str | None,
    need: int,
    of: int,
    name: str | None,
    without_credentials: bool,
    yes: bool,
    identity_path: str | None,
) -> int:
    """Make the recovery kit in DIR: the plan, instructions, and word shares of a new identity.

    With enough of the shares, and the storage, everything is restored on a machine that has never
    seen the plan. Print the pages, hand them out, and destroy the files of the shares.
    """
    if click_context.invoked_subcommand:
        return ExitCode.DONE
    if directory is None:
        raise UsageError("a directory for the kit is wanted", hint="drctl kit --to DIR")
    _check(directory, need, of)
    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    before = recipients(wiring, identity)
    name = name or _free_name(wiring, before)
    secrets = {} if without_credentials else wiring.places().secrets(_repositories(wiring))
    made = make(_blank(wiring, name, need, of), secrets, wiring.randomness)
    change = Change(context, wiring, before, named_once((*before, made.recipient), _NAMED))
    confirm(change, yes)
    change.note = _note(directory, made)
    written: list[str] = []
    try:
        _write(directory, made, wiring, written)
        return conclude(change, [identity])
    except DrctlError as error:
        _take_back(directory, written, made, wiring, error)
        raise


def _free_name(wiring: Wiring, before: Sequence[Recipient]) -> str:
    """The day; another kit of the same day gets a number."""
    day = f"kit-{iso_instant(wiring.clock.now_ns())[:10]}"
    taken = {r.name for r in before}
    names = (day, *(f"{day}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def _check(directory: str, need: int, of: int) -> None:
    if not (1 < need <= of <= codec.MOST_SHARES or need == of == 1):
        raise UsageError(
            f"{need} of {of} shares cannot be",
            hint=f"two or more of at most {codec.MOST_SHARES}, or 1 of 1",
        )
    directory = os.path.abspath(directory)  # of a working directory that is gone, main tells
    if os.path.exists(directory) and (not os.path.isdir(directory) or os.listdir(directory)):
        raise TargetRefused(f"{directory} is not empty", hint="name a new directory")


def _repositories(wiring: Wiring) -> dict[str, Any]:
    return dict(wiring.loaded.plan.repositories)


def _blank(wiring: Wiring, name: str, need: int, of: int) -> Blank:
    loaded = wiring.loaded
    return Blank(
        name,
        need,
        of,
        wiring.credential().secrets.repository_id.hex(),
        loaded.base,
        read_text(loaded.path),
        wiring.clock.now_ns(),
    )


def _write(directory: str, made: Shares, wiring: Wiring, written: list[str]) -> None:
    """Files first: a kit that was not made a recipient opens nothing, and 'kit test' tells it."""
    files = {"kit.json": codec.encode(made.kit)}
    files |= pages(made.kit, made.shares, _places(wiring))
    for name, text in files.items():
        written.append(name)
        write_private(os.path.join(directory, name), text)


def _take_back(
    directory: str, written: list[str], made: Shares, wiring: Wiring, error: DrctlError
) -> None:
    """Pages of a kit that opens nothing must not be handed out. Once this host seals to it, only
    they can open what is written from now on."""
    if made.recipient in wiring.credential().recipients:
        error.hint = (
            f"{error.hint}. The kit in {directory} does not open everything yet: print nothing. "
            "Mend what hinders it, run 'drctl key recipient apply', then "
            f"'drctl kit test --kit {directory}'"
        ).removeprefix(". ")
        return
    for name in written:
        with suppress(OSError):  # the disk was full, or it could not be made
            os.unlink(os.path.join(directory, name))
    with suppress(OSError):  # it was there before, and is somebody's working directory
        os.rmdir(directory)


def _places(wiring: Wiring) -> list[Place]:
    found = []
    for name, part in wiring.loaded.plan.repositories.items():
        where = wiring.storage(name).where
        line: dict[str, object] = {"site": part.site}
        if part.s3:
            line["s3"] = part.s3.model_dump(exclude_defaults=True, exclude={"credentials"})
        else:
            line["path"] = where
        found.append(Place(name, where, line, part.copy_of is not None))
    return found


def _note(directory: str, made: Shares) -> str:
    kit, quoted = made.kit, shlex.quote(directory)
    return "\n".join(
        [
            f"The kit {kit.name} is in {directory}: any {kit.need} of its {kit.of} shares open it.",
            "1. Print share-*.html and instructions.html; give each share to another person.",
            "2. Keep kit.json, which is no secret, with the instructions and off this site.",
            f"3. Prove it: drctl kit test --kit {quoted}",
            f"4. Destroy the shares here: shred -u {quoted}/share-*",
        ]
    )


@command.command(short_help="Prove that the shares open the repositories.")
@click.argument("more", nargs=-1, metavar="[FILE]...")
@kit_option
@from_option
@as_of_option
@output_options
@pass_context
def test(context: Context, more: tuple[str, ...], repository: str | None) -> int:
    """Prove that the shares at hand open the real repositories, the copies among them, and that
    data comes out of each asset's newest snapshot. Each FILE counts as one more --kit."""
    context.kit_files += more
    kit = context.kit()
    if kit is None:
        raise UsageError("a kit is wanted", hint="drctl kit test --kit DIR, or --kit kit.json")
    wiring, pool = context.wiring(), context.pool()
    names = [repository] if repository else list(wiring.loaded.plan.repositories)
    proofs: dict[str, Proof] = {}
    for name in names:
        try:
            opened = wiring.as_reader(name, kit.identity, fresh=True)
            proofs[name] = prove(opened, kit.identity, pool, wiring.report)
            nothing = not (proofs[name].read or proofs[name].wrong)
            if nothing and (left := way_back(wiring, name, opened, catalog.Catalog((), ()))):
                wiring.warn(f"{name}: {left}")
        except DrctlError as error:
            proofs[name] = Proof(name, wrong=[error.what])
    is_whole = all(proof.is_whole for proof in proofs.values())
    used = ", ".join(map(str, kit.shares))
    lines = [f"shares {used} open the kit", *map(_line, proofs, proofs.values())]
    document = {
        "shares": list(kit.shares),
        "fingerprint": kit.identity.recipient().fingerprint,
        "repositories": {name: _document(proof) for name, proof in proofs.items()},
        "proven": is_whole,
    }
    context.result(document, "\n".join(lines))
    return ExitCode.DONE if is_whole else ExitCode.KEY


def _document(proof: Proof) -> dict[str, object]:
    return {
        "where": proof.where,
        "sessions": proof.sessions,
        "closed": proof.closed,
        "read": proof.read,
        "wrong": proof.wrong,
    }


def _line(name: str, proof: Proof) -> str:
    if proof.wrong:
        return f"{name}: NOT PROVEN: {'; '.join(proof.wrong)}"
    if proof.closed:
        return (
            f"{name}: NOT PROVEN: {proof.closed} of {proof.sessions} sessions are not sealed to "
            "the kit: run 'drctl key recipient apply'"
        )
    read = ", ".join(proof.read) or "no snapshot"
    return f"{name}: opens, all {proof.sessions} sessions; read from: {read}"
