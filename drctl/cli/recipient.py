"""Give and take the power to read: who the recipients of a repository are."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from drctl.cli.context import Context, identity_option, output_options, pass_context
from drctl.cli.keyfiles import read_recipient, read_text, rewrite_private, write_private
from drctl.codec import keys
from drctl.codec.keys import WriterCredential
from drctl.codec.recipients import Identity, Recipient, new_identity
from drctl.errors import DrctlError, ExitCode, KeyUnavailable, UsageError
from drctl.events import Notice
from drctl.ops.recipients import Aligned, align, out_of_line
from drctl.report.results import table
from drctl.repository.repository import Repository
from drctl.wiring import Wiring


@click.group()
def command() -> None:
    """Give and take the power to read what is backed up.

    Only sessions and keys are sealed anew, never data. Each command may be broken off at any
    point: run it, or 'apply', again.
    """


yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@dataclass(slots=True)
class _Change:
    """What is to be, and what was done so far."""

    context: Context
    wiring: Wiring
    wanted: tuple[Recipient, ...]
    done: dict[str, Aligned] = field(default_factory=dict)
    behind: dict[str, DrctlError] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return not self.behind and all(found.is_whole for found in self.done.values())


@command.command("list")
@output_options
@pass_context
def list_(context: Context) -> int:
    """Show who can read what is backed up, and sessions that are not in line. Needs no identity."""
    wiring, pool = context.wiring(), context.pool()
    credential = wiring.credential()
    rows = [(r.name, r.fingerprint) for r in credential.recipients]
    states = {
        name: out_of_line(wiring.storage(name), credential.recipients, pool)
        for name in wiring.loaded.plan.repositories
    }
    document = {
        "recipients": [{"name": name, "fingerprint": print_} for name, print_ in rows],
        "repositories": {
            name: {"out_of_line": odd, "sessions": all_} for name, (odd, all_) in states.items()
        },
    }
    lines = [table(("recipient", "fingerprint"), rows)]
    lines += [
        f"{name}: {odd} of {all_} sessions are sealed to others: run 'drctl key recipient apply'"
        if odd
        else f"{name}: all {all_} sessions are sealed to them"
        for name, (odd, all_) in states.items()
    ]
    context.result(document, "\n".join(lines))
    return ExitCode.PARTIAL if any(odd for odd, _ in states.values()) else ExitCode.DONE


@command.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@yes_option
@identity_option
@output_options
@pass_context
def add(context: Context, files: tuple[str, ...], yes: bool, identity_path: str | None) -> int:
    """Let the identities of FILEs read everything, old and new. A FILE is an identity, or what
    'drctl key public' printed of one."""
    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    present = _recipients(wiring, identity)
    new = [r for r in map(read_recipient, files) if r.fingerprint not in _prints(present)]
    change = _Change(context, wiring, _named_once((*present, *new)))
    _confirm(change, yes)
    return _conclude(change, [identity])


@command.command()
@click.argument("who", metavar="NAME|FINGERPRINT")
@yes_option
@identity_option
@output_options
@pass_context
def remove(context: Context, who: str, yes: bool, identity_path: str | None) -> int:
    """Seal everything away from a recipient. Copies that it has already stay readable for it."""
    wiring = context.wiring()
    identity = context.identity(wiring, identity_path)
    present = _recipients(wiring, identity)
    gone = _one(present, who)
    if gone.fingerprint == identity.recipient().fingerprint:
        raise UsageError(
            "the identity that does it cannot remove itself: nobody would have proven that another "
            "one opens everything",
            hint="give another with --identity, or use 'rotate'",
        )
    change = _Change(context, wiring, tuple(r for r in present if r != gone))
    _confirm(change, yes)
    return _conclude(change, [identity])


@command.command()
@click.argument("who", metavar="NAME|FINGERPRINT")
@click.option("--to", "file", required=True, metavar="FILE", help="The new identity's file.")
@click.option("--name", help="Name of the new identity; else as before, with a number.")
@yes_option
@identity_option
@output_options
@pass_context
def rotate(
    context: Context, who: str, file: str, name: str | None, yes: bool, identity_path: str | None
) -> int:
    """Put a new identity in the place of a recipient.

    The new one is made in FILE under DRCTL_NEW_PASSPHRASE, or what you type. The old one is
    dropped only after the new one has opened every session in every repository of the plan.
    """
    wiring = context.wiring()
    old = context.identity(wiring, identity_path)
    present = _recipients(wiring, old)
    gone = _one(present, who)
    fresh = name or f"{gone.name.rstrip('-0123456789')}-{len(present) + 1}"
    new = _new_identity(context, wiring, file, fresh)
    both = _named_once((*(r for r in present if r != new.recipient()), new.recipient()))
    change = _Change(context, wiring, both)
    _confirm(_Change(context, wiring, tuple(r for r in both if r != gone)), yes)
    _carry_out(change, [old, new])
    if not change.is_whole:
        _warn(wiring, f"{gone.name} was not removed: first everything must be sealed to {fresh}")
        return _tell(change)
    return _conclude(_Change(context, wiring, tuple(r for r in both if r != gone)), [new])


@command.command()
@yes_option
@identity_option
@output_options
@pass_context
def apply(context: Context, yes: bool, identity_path: str | None) -> int:
    """Bring every repository in line with this host's writer credential: to end what was broken
    off, or after another host wrote with an older credential."""
    wiring = context.wiring()
    change = _Change(context, wiring, wiring.credential().recipients)
    _confirm(change, yes)
    return _conclude(change, [context.identity(wiring, identity_path)])


# -- who ------------------------------------------------------------------------------------------


def _recipients(wiring: Wiring, identity: Identity) -> tuple[Recipient, ...]:
    """As this host's credential has them; without one, as the repository says."""
    path = wiring.credential_path()
    if path is None or os.path.exists(path):
        return wiring.credential().recipients
    return wiring.as_reader(wiring.primary(), identity, fresh=True).recipients


def _prints(recipients: Sequence[Recipient]) -> set[str]:
    return {r.fingerprint for r in recipients}


def _named_once(recipients: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
    """Raises UsageError: two of one name could not be told apart."""
    names = [r.name for r in recipients]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"there would be two recipients named {twice[0]}",
            hint="make the identity under another name: 'drctl key new FILE --name NAME'",
        )
    return recipients


def _one(recipients: tuple[Recipient, ...], who: str) -> Recipient:
    found = [r for r in recipients if who in (r.name, r.fingerprint)]
    if len(found) != 1:
        names = ", ".join(r.name for r in recipients)
        raise UsageError(
            f"'{who}' is {'no recipient' if not found else 'not one recipient'}",
            hint=f"they are: {names}. What was broken off is ended by 'drctl key recipient apply'",
        )
    return found[0]


def _new_identity(context: Context, wiring: Wiring, file: str, name: str) -> Identity:
    """What is in FILE already, from a run that was broken off, is opened: that proves it."""
    passphrase = context.new_passphrase()
    if os.path.exists(file):
        return keys.decode_identity(read_text(file), passphrase)
    identity = new_identity(name, wiring.randomness)
    write_private(file, keys.encode_identity(identity, passphrase, wiring.randomness))
    return identity


def _confirm(change: _Change, yes: bool) -> None:
    """Whoever holds the host could have written a reader of its own into its credential: a person
    must see who will read everything."""
    rows = [(r.name, r.fingerprint) for r in change.wanted]
    listed = table(("recipient", "fingerprint"), rows)
    change.context.confirm(f"These, and nobody else, will read all backups:\n{listed}", yes)


# -- doing it -------------------------------------------------------------------------------------


def _carry_out(change: _Change, identities: Sequence[Identity]) -> None:
    """The credential first: what is written from now on is sealed as wanted. Then the repository
    that is written to, then its copies, so that no copy is ahead of it."""
    wiring = change.wiring
    names = [wiring.primary(), *wiring.others()]
    opened: dict[str, Repository] = {}
    for name in names:
        try:
            opened[name] = _open(wiring, name, identities)
        except DrctlError as error:
            if name == wiring.primary():
                raise
            change.behind[name] = error
    _write_credential(change, opened[wiring.primary()])
    pool = change.context.pool()
    for name, repository in opened.items():
        try:
            change.done[name] = align(repository, identities, change.wanted, pool, wiring.report)
        except DrctlError as error:
            if name == wiring.primary():
                raise
            change.behind[name] = error


def _open(wiring: Wiring, name: str, identities: Sequence[Identity]) -> Repository:
    for identity in identities[:-1]:
        try:
            return wiring.as_reader(name, identity, fresh=True)
        except KeyUnavailable:
            continue  # broken off before: another one of them opens it
    return wiring.as_reader(name, identities[-1], fresh=True)


def _write_credential(change: _Change, repository: Repository) -> None:
    path = change.wiring.credential_path()
    if path is None:
        raise KeyUnavailable(
            "the writer credential lies in no file that could be changed",
            hint="let keys.credential be file:PATH in the plan that you do this with",
        )
    if not os.path.exists(path):
        return
    if change.wiring.credential().recipients != change.wanted:
        credential = WriterCredential(repository.secrets, change.wanted)
        rewrite_private(path, keys.encode_credential(credential))


def _conclude(change: _Change, identities: Sequence[Identity]) -> int:
    _carry_out(change, identities)
    return _tell(change)


def _warn(wiring: Wiring, text: str) -> None:
    wiring.report.emit(Notice("warning", text))


def _tell(change: _Change) -> int:
    for name, error in change.behind.items():
        _warn(change.wiring, f"{name}: {error.what}; run 'drctl key recipient apply' for it")
    for name, found in change.done.items():
        if found.closed:
            number = len(found.closed)
            _warn(change.wiring, f"{name}: {number} sessions do not open with this identity")
        for damaged in found.damaged:
            _warn(change.wiring, f"{name}: {damaged} is damaged: see 'drctl verify'")
    change.context.result(_document(change), _text(change))
    return ExitCode.DONE if change.is_whole else ExitCode.PARTIAL


def _document(change: _Change) -> dict[str, Any]:
    return {
        "recipients": [{"name": r.name, "fingerprint": r.fingerprint} for r in change.wanted],
        "credential": change.wiring.credential_path(),
        "repositories": {
            name: {
                "sessions": found.sessions,
                "resealed": found.resealed,
                "closed": found.closed,
                "damaged": found.damaged,
                "keys_made": found.keys_made,
                "keys_removed": found.keys_removed,
            }
            for name, found in change.done.items()
        },
        "behind": {name: error.what for name, error in change.behind.items()},
    }


def _text(change: _Change) -> str:
    lines = [table(("recipient", "fingerprint"), [(r.name, r.fingerprint) for r in change.wanted])]
    lines += [
        f"{name}: {found.resealed} of {found.sessions} sessions sealed anew"
        for name, found in change.done.items()
    ]
    path = change.wiring.credential_path()
    lines.append(f"Copy {path} to every other host that backs up with it.")
    return "\n".join(lines)
