"""Changing the recipients of every repository of a plan: what the commands share that do it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct, field

from drctl.cli.context import Context
from drctl.cli.keyfiles import rewrite_private
from drctl.codec import keys
from drctl.codec.keys import WriterCredential
from drctl.codec.recipients import Identity, Recipient
from drctl.errors import Busy, DrctlError, ExitCode, KeyUnavailable, UsageError
from drctl.events import Notice
from drctl.homes import state_home
from drctl.ops.recipients import Aligned, align, make_keys, must_be_in_line
from drctl.report.results import table
from drctl.repository.repository import Repository
from drctl.repository.state import exclusive
from drctl.wiring import Wiring


class Change(Struct):
    """What was there when it was asked for, what is to be, and what was done so far."""

    context: Context
    wiring: Wiring
    before: tuple[Recipient, ...]
    wanted: tuple[Recipient, ...]
    done: dict[str, Aligned] = field(default_factory=dict)
    behind: dict[str, DrctlError] = field(default_factory=dict)
    note: str = ""  # what else the result says

    @property
    def is_whole(self) -> bool:
        return not self.behind and all(found.is_whole for found in self.done.values())


def recipients(wiring: Wiring, identity: Identity) -> tuple[Recipient, ...]:
    """As this host's credential has them; without one, as the repository says."""
    path = wiring.loaded.credential_path()
    if path is None or os.path.exists(path):
        return wiring.credential().recipients
    return wiring.as_reader(wiring.primary(), identity, fresh=True).recipients


def named_once(
    recipients: tuple[Recipient, ...],
    hint: str = "make the identity under another name: 'drctl key new FILE --name NAME'",
) -> tuple[Recipient, ...]:
    """Raises UsageError: two of one name could not be told apart. `hint`: how another is given."""
    names = [r.name for r in recipients]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"there would be two recipients named {twice[0]}",
            hint=hint,
        )
    return recipients


def confirm(change: Change, yes: bool) -> None:
    """Whoever holds the host could have written a reader of its own into its credential: a person
    must see who will read everything."""
    rows = [(r.name, r.fingerprint) for r in change.wanted]
    listed = table(("recipient", "fingerprint"), rows)
    change.context.confirm(f"These, and nobody else, will read all backups:\n{listed}", yes)


def carry_out(change: Change, identities: Sequence[Identity]) -> None:
    """The credential first: what is written from now on is sealed as wanted. Then the repository
    that is written to, then its copies, so that no copy is ahead of it. Where it cannot be written,
    the key that a new reader needs there tells so before anything names that reader."""
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
    first = opened[wiring.primary()]
    with _alone(change, first, identities):
        made = make_keys(first, change.wanted)
        _write_credential(change, first)
        pool = change.context.pool()
        for name, repository in opened.items():
            try:
                done = align(repository, identities, change.wanted, pool, wiring.report)
                must_be_in_line(repository, change.wanted)
                change.done[name] = done
            except DrctlError as error:
                if name == wiring.primary():
                    raise
                change.behind[name] = error
    change.done[wiring.primary()].keys_made[:0] = made


@contextmanager
def _alone(change: Change, first: Repository, identities: Sequence[Identity]) -> Iterator[None]:
    """Two at once would each take the other's new reader away again. Nobody waits with it for a
    person's answer, so what was asked may be overtaken. Raises Busy."""
    wiring = change.wiring
    again = "give the command again when it has ended"
    home = os.path.join(state_home(), first.secrets.repository_id.hex())
    with exclusive(os.path.join(home, "recipients.lock"), "a change of recipients", again):
        path = wiring.loaded.credential_path()
        if path is None or os.path.exists(path):
            present = wiring.credential().recipients
        else:
            present = _open(wiring, wiring.primary(), identities).recipients
        if set(present) != set(change.before):
            names = ", ".join(r.name for r in present)
            raise Busy(
                f"the recipients have changed meanwhile, and nothing was done: they are {names}",
                hint="give the command again",
            )
        yield


def _open(wiring: Wiring, name: str, identities: Sequence[Identity]) -> Repository:
    for identity in identities[:-1]:
        try:
            return wiring.as_reader(name, identity, fresh=True)
        except KeyUnavailable:
            continue  # broken off before: another one of them opens it
    return wiring.as_reader(name, identities[-1], fresh=True)


def _write_credential(change: Change, repository: Repository) -> None:
    path = change.wiring.loaded.credential_path()
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


def conclude(change: Change, identities: Sequence[Identity]) -> int:
    """Do it and tell it. Gives the exit code."""
    carry_out(change, identities)
    return tell(change)


def warn(wiring: Wiring, text: str) -> None:
    wiring.report.emit(Notice("warning", text))


def tell(change: Change) -> int:
    """The result, and what is still open. Gives the exit code."""
    for name, error in change.behind.items():
        warn(change.wiring, f"{name}: {error.what}; run 'drctl key recipient apply' for it")
    for name, found in change.done.items():
        if found.closed:
            number = len(found.closed)
            warn(change.wiring, f"{name}: {number} sessions do not open with this identity")
        for damaged in found.damaged:
            warn(change.wiring, f"{name}: {damaged} is damaged: see 'drctl verify'")
    change.context.result(_document(change), _text(change))
    return ExitCode.DONE if change.is_whole else ExitCode.PARTIAL


def _document(change: Change) -> dict[str, Any]:
    return {
        "recipients": [{"name": r.name, "fingerprint": r.fingerprint} for r in change.wanted],
        "credential": change.wiring.loaded.credential_path(),
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


def _text(change: Change) -> str:
    lines = [table(("recipient", "fingerprint"), [(r.name, r.fingerprint) for r in change.wanted])]
    lines += [
        f"{name}: {found.resealed} of {found.sessions} sessions sealed anew"
        for name, found in change.done.items()
    ]
    path = change.wiring.loaded.credential_path()
    lines.append(f"Copy {path} to every other host that backs up with it.")
    return "\n".join([*lines, change.note] if change.note else lines)
