"""Make what is missing: a starter plan, the keys, the repositories."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from msgspec import Struct, field

from drctl import private
from drctl.cli.apart import must_be_apart
from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.keyfiles import read_recipient, write_private
from drctl.codec import keys
from drctl.codec.keys import WriterCredential
from drctl.codec.recipients import Recipient, new_identity
from drctl.errors import (
    AlreadyExists,
    Busy,
    DrctlError,
    ExitCode,
    KeyUnavailable,
    NoPlan,
    PlanError,
    StorageError,
)
from drctl.events import Notice
from drctl.homes import state_home
from drctl.plan.find import HERE
from drctl.plan.starter import starter
from drctl.repository import keyring, lifecycle, there
from drctl.repository.state import exclusive
from drctl.storage.base import Storage
from drctl.storage.local import Local
from drctl.wiring import Wiring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_NEW = (
    "{path} is not there. init makes a NEW plan of that name, and beside it an identity, a "
    "credential and a repository: a new set-up. Where you have a plan already, its name is mistyped"
)


class _Done(Struct):
    """What there is now: (what, where, made now)."""

    things: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, what: str, where: str, *, made: bool) -> None:
        self.things.append((what, where, made))


@click.command()
@click.option("--name", "identity_name", default="first", help="Name of the first identity.")
@click.option(
    "--lost",
    multiple=True,
    metavar="REPOSITORY",
    help="It is lost for good: make it anew, empty, where this host found it before.",
)
@click.option("--yes", is_flag=True, help="Do not ask before a named plan is made that is missing.")
@output_options
@pass_context
def command(context: Context, identity_name: str, lost: tuple[str, ...], yes: bool) -> int:
    """Make what is missing: a starter plan, the keys, the repositories.

    The first identity is closed with a passphrase: DRCTL_PASSPHRASE, or what you type. What is
    there already is left as it is, so init may be run again. Where this host found a repository
    before and finds none now, none is made: its disk may not be mounted. A plan that is named and
    is not there may be mistyped: whether a new one is wanted is asked.
    """
    done = _Done()
    lock = os.path.join(state_home(), "init.lock")
    try:
        with exclusive(lock, "an init", "run 'drctl init' again when it has ended"):
            _plan(context, yes, done)
            wiring = _all(context, identity_name, lost, done)
    except DrctlError:
        for what, where, made in done.things:
            if made:
                context.report.emit(Notice("info", f"made  {what}: {where}"))
        raise
    context.result(
        [{"what": what, "where": where, "made": made} for what, where, made in done.things],
        _text(done, wiring),
    )
    return ExitCode.PARTIAL if wiring.lapsed() else ExitCode.DONE


def _all(context: Context, identity_name: str, lost: tuple[str, ...], done: _Done) -> Wiring:
    """Raises StorageError, once all else is made, for a repository that was there before."""
    wiring = context.wiring()
    for name in lost:
        wiring.part(name)
    gone = [n for n in wiring.loaded.plan.repositories if n not in lost and _is_gone(wiring, n)]
    credential = _keys(context, wiring, identity_name, gone, done)
    _repositories(wiring, credential, gone, done)
    _evidence_key(wiring, done)
    for name in gone[1:]:
        wiring.warn(_gone(wiring, name).what)
    if gone:
        raise _gone(wiring, gone[0])
    return wiring


def _is_gone(wiring: Wiring, name: str) -> bool:
    """Whether this host found a repository there before, and nothing of one is left. Raises
    StorageError."""
    bare = wiring.bare_storage(name)
    if not there.was_there(bare):
        return False
    if isinstance(bare, Local) and not os.path.isdir(bare.where):
        return True
    return not lifecycle.is_in_use(wiring.storage(name))


def _gone(wiring: Wiring, name: str) -> StorageError:
    plan = wiring.loaded.plan.repositories
    copies = [copy for copy, part in plan.items() if part.copy_of == name]
    source = plan[name].copy_of or (copies[0] if copies else None)
    back = f"'drctl replicate --from {source} --to {name}' makes it again from {source}; "
    anew = f"'drctl init --lost {name}' makes it anew, empty"
    hint = f"where it was lost for good: {back if source else ''}{anew}"
    return there.missing(wiring.storage(name), "", hint)


def _write(path: str, text: str) -> None:
    """A key or plan of which there was none a moment ago. Raises Busy: another init was quicker,
    and what it made must not be moved away."""
    try:
        write_private(path, text)
    except KeyUnavailable as error:
        if isinstance(error.__cause__, FileExistsError):
            raise Busy(
                f"{path}: another 'drctl init' has just made it",
                hint="leave it as it is, and run 'drctl init' again when the other one has ended",
            ) from error
        raise


def _plan(context: Context, yes: bool, done: _Done) -> None:
    """Whoever names a plan that is not there has mistyped it, or wants a new one: that is a whole
    new set-up. Raises UsageError where nobody can be asked."""
    try:
        made = not os.path.exists(path := context.find_plan())
        if made:
            context.confirm(_NEW.format(path=path), yes)
    except NoPlan:
        made = True
        context.plan_path = path = HERE
    if made:
        name = os.path.basename(os.path.dirname(os.path.abspath(path))).lower()
        clean = "".join(c for c in name if c.isascii() and (c.isalnum() or c in "-_"))
        data = os.path.join(os.path.dirname(os.path.abspath(path)), "data")
        made_data = not os.path.exists(data)
        _make_directory(data)
        _write(path, starter(clean.lstrip("0123456789-_") or "site"))
        done.add("directory of the plan's asset", data, made=made_data)
    done.add("plan", context.find_plan(), made=made)


def _make_directory(path: str) -> None:
    """Raises PlanError."""
    try:
        private.make_directory(path)
    except OSError as error:
        raise PlanError(
            f"{path}: cannot be made: {error.strerror}",
            hint="name a plan with --plan where you may write, or go to such a directory",
        ) from error


def _keys(
    context: Context, wiring: Wiring, identity_name: str, gone: list[str], done: _Done
) -> WriterCredential:
    """The writer credential, made with the first identity as its recipient; but for repositories
    that are gone it would be the wrong one."""
    path = wiring.loaded.credential_path()
    if path is None or os.path.exists(path):
        credential = wiring.credential()
        with suppress(PlanError):  # a plan need not say where the identity lies
            if os.path.exists(identity := wiring.loaded.identity_path()):
                done.add("identity", identity, made=False)
        done.add("writer credential", path or wiring.loaded.plan.keys.credential, made=False)
        return credential
    _refuse_foreign(wiring, path)
    if gone:
        raise _gone(wiring, gone[0])
    recipient = _identity(context, wiring, identity_name, done)
    credential = WriterCredential(keys.new_secrets(wiring.randomness), (recipient,))
    _write(path, keys.encode_credential(credential))
    done.add("writer credential", path, made=True)
    return credential


def _refuse_foreign(wiring: Wiring, path: str) -> None:
    """A new credential fits new repositories only: beside one that is there it would be in the way
    of the one that is wanted. Raises KeyUnavailable, StorageError."""
    for name in wiring.loaded.plan.repositories:
        bare = wiring.bare_storage(name)
        if isinstance(bare, Local) and not os.path.isdir(bare.where):
            continue
        storage = wiring.storage(name)
        if lifecycle.is_in_use(storage):
            source = "" if name == wiring.primary() else f" --from {name}"
            raise KeyUnavailable(
                f"{path}: the writer credential is lost, and a new one would not fit the "
                f"repository {name} ({storage.where}), which is there",
                hint=f"make it again from the repository: 'drctl key credential {path}{source} "
                "--identity FILE', or bring it back from its copy",
            )


def _identity(context: Context, wiring: Wiring, name: str, done: _Done) -> Recipient:
    path = wiring.loaded.identity_path()
    if os.path.exists(path):
        done.add("identity", path, made=False)
        return read_recipient(path)
    passphrase = context.passphrase("New passphrase for the identity", confirm=True)
    identity = new_identity(name, wiring.randomness)
    _write(path, keys.encode_identity(identity, passphrase, wiring.randomness))
    done.add("identity", path, made=True)
    return identity.recipient()


def _repositories(
    wiring: Wiring, credential: WriterCredential, gone: list[str], done: _Done
) -> None:
    present = [n for n in wiring.loaded.plan.repositories if n not in gone]
    for number, name in enumerate(present):
        bare = wiring.bare_storage(name)
        if isinstance(bare, Local):
            bare.create()
        storage = wiring.storage(name)
        made = not lifecycle.exists(storage)
        if made:
            _tell_of_history(wiring, name, storage)
            try:
                lifecycle.create(storage, credential, wiring.randomness)
            except AlreadyExists:
                made = False  # another init was quicker
        opened = lifecycle.open_as_writer(storage, credential, wiring.randomness)
        must_be_apart(wiring, name, present[:number])
        there.note(storage)
        wiring.tell_if_lapsed(name)
        done.add(f"repository {name}", storage.where, made=made)
        for recipient in keyring.make_lost(opened):
            done.add(f"key of {recipient.name}, which was lost", storage.where, made=True)


def _tell_of_history(wiring: Wiring, name: str, storage: Storage) -> None:
    """The place is empty, but a copy of it is there: it was lost, rather than never made. Or only
    its config was."""
    if lifecycle.is_in_use(storage):
        wiring.warn(f"{name} had lost its config, which is made again: what it holds stays")
        return
    for copy, part in wiring.loaded.plan.repositories.items():
        is_there = False
        if part.copy_of == name:
            with suppress(DrctlError):  # one that does not answer is told in its turn
                is_there = lifecycle.exists(wiring.storage(copy))
        if is_there:
            line = f"drctl replicate --from {copy} --to {name}"
            text = (
                f"{name} is made empty, but its copy {copy} holds history: '{line}' brings it back"
            )
            wiring.warn(text)


def _evidence_key(wiring: Wiring, done: _Done) -> None:
    """What signs the findings of drills, and its public half beside it, for who verifies them."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from drctl.cli.proofs import Proofs
    from drctl.report import evidence

    path = Proofs(wiring).key_path()
    if path is None:
        return
    made = not os.path.exists(path)
    if made:
        key = Ed25519PrivateKey.generate()
        _write(path, evidence.private_pem(key))
        _set_public_half(wiring, path, key.public_key())
    elif present := _evidence_key_of(path):
        _set_public_half(wiring, path, present.public_key())
    done.add("evidence key", path, made=made)


def _evidence_key_of(path: str) -> "Ed25519PrivateKey | None":
    """None where it does not read: the first drill tells of it, and is refused."""
    from drctl.report import evidence

    with (
        suppress(OSError, UnicodeDecodeError, KeyUnavailable),
        open(path, encoding="utf-8") as file,
    ):
        return evidence.private_key(file.read())
    return None


def _set_public_half(wiring: Wiring, path: str, half: "Ed25519PublicKey") -> None:
    """What a key that is gone signed is verified with the half that lay there."""
    from drctl.report import evidence

    with suppress(FileNotFoundError, KeyUnavailable):
        with open(f"{path}.pub", encoding="utf-8") as file:
            before = evidence.key_id(evidence.public_key(file.read()))
        if before == evidence.key_id(half):
            return
        kept = f"{path}-{before}.pub"
        os.rename(f"{path}.pub", kept)
        text = f"the public half of the evidence key before is now {kept}: what it signed counts"
        wiring.warn(f"{text} where the plan names it: evidence: {{former: [{kept}]}}")
    private.replace(f"{path}.pub", evidence.public_pem(half))


def _text(done: _Done, wiring: Wiring) -> str:
    lines = [f"{'made' if made else 'there'}  {what}: {where}" for what, where, made in done.things]
    if any(what == "identity" and made for what, _, made in done.things):
        lines += [
            "",
            "Without the identity file and its passphrase nothing can be restored, by anybody.",
            f"Copy {wiring.loaded.identity_path()} to a safe place now.",
        ]
    return "\n".join(lines)
