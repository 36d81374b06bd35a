"""A plan's evidence: kept in a directory here, and in the repositories that it was drilled from."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from drctl.cli.namesakes import home_of
from drctl.errors import AlreadyExists, IntegrityError, KeyUnavailable, NotFound, StorageError
from drctl.homes import state_home
from drctl.plan.secrets import path_of, resolve
from drctl.private import make_directory, replace
from drctl.report import evidence
from drctl.report.evidence import Proof
from drctl.repository import lifecycle, names, there
from drctl.repository.state import no_locks
from drctl.storage.retry import Retry
from drctl.wiring import Wiring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

    from drctl.report.signers import Keys

_PATIENCE_SECONDS = 120.0
_SUFFIX = ".json"


@contextmanager
def _alone() -> Iterator[None]:
    """Two drills that end at once must not take one number: the chain would be forked for ever. A
    file of this host is locked: a directory on a file server cannot be."""
    home = state_home()
    make_directory(home)
    path = os.path.join(home, "evidence.lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise no_locks(path, error) from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def one_by_one(wiring: Wiring) -> Iterator[None]:
    """Another user of this host keeps evidence in a directory and under a lock of his own: what two
    know of each other lies in the repositories, so each looks and adds there alone. The plan's own
    file is locked, which both read; where it is none, or on a file server, nobody waits, and
    nowhere for ever: whoever began this run may hold that lock, as `flock plan.yaml drctl` does."""
    with ExitStack() as stack:
        with suppress(OSError):
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(wiring.loaded.path, flags)
            stack.callback(os.close, descriptor)
            wait_for_lock(descriptor, _PATIENCE_SECONDS)
        yield


def wait_for_lock(descriptor: int, seconds: float) -> bool:
    """Whether it is ours by then. No call says how long to wait, so a thread waits."""
    ours = threading.Event()

    def wait() -> None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            ours.set()

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    waiter.join(seconds)
    return ours.is_set()


class Proofs:
    """The evidence of one plan. Nothing of it is ever changed or removed."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._plan = wiring.loaded.plan
        named = self._plan.evidence.directory
        base = wiring.loaded.base
        self.directory = os.path.join(base, named) if named else home_of(wiring, "evidence")

    def path_of(self, proof: Proof) -> str:
        return os.path.join(self.directory, f"{proof.number:06d}-{proof.name}{_SUFFIX}")

    # -- keeping ------------------------------------------------------------------------------

    def add(self, document: dict[str, object], known: list[Proof]) -> Proof:
        """A new piece, behind the newest of those that are kept here or `known` elsewhere, where
        others may write: of those what a key of the plan signed. Raises KeyUnavailable,
        StorageError."""
        key = self.key()
        try:
            make_directory(self.directory)
            with _alone():
                before = evidence.newest([*self._own(), *self._to_follow(key, known)])
                made = evidence.make(document, before, key)
                replace(self.path_of(made), made.data.decode())  # half a piece reads as forged
        except OSError as error:
            where = error.filename or self.directory
            raise StorageError(
                f"{where}: the evidence cannot be kept: {error.strerror}",
                hint="make room or rights there, or name another with evidence.directory",
            ) from error
        return made

    def _to_follow(self, key: "Ed25519PrivateKey | None", known: list[Proof]) -> list[Proof]:
        """A former key that cannot be read keeps no evidence from being made."""
        from drctl.report.signers import Keys, to_follow

        former = []
        for named in self._plan.evidence.former:
            with suppress(KeyUnavailable):
                former.append(self._former(named))
        return to_follow(Keys(key.public_key() if key else None, tuple(former)), known)

    def share(self, repository: str) -> None:
        """Every piece that is here, and not there yet."""
        storage = self._wiring.storage(repository)
        for proof in self.here()[0]:
            try:
                storage.put(names.EVIDENCE + proof.name, proof.data)
            except AlreadyExists:
                continue  # the same bytes: its name is their digest

    # -- looking ------------------------------------------------------------------------------

    def here(self) -> tuple[list[Proof], list[str]]:
        """What is kept here, and a sentence for each file that is no evidence, or cannot be
        read."""
        pieces, unread = self._kept()
        proofs, wrong = self._read(pieces)
        return proofs, [*wrong, *(f"{path}: {error.strerror}" for path, error in unread.items())]

    def _own(self) -> list[Proof]:
        """The same to be followed: one that cannot be read has a number, too. Raises OSError."""
        pieces, unread = self._kept()
        for error in unread.values():
            if not isinstance(error, IsADirectoryError):
                raise error
        return self._read(pieces)[0]

    def _kept(self) -> tuple[dict[str, bytes], dict[str, OSError]]:
        """The files here, and why others cannot be read."""
        pieces: dict[str, bytes] = {}
        unread: dict[str, OSError] = {}
        try:
            found = sorted(n for n in os.listdir(self.directory) if n.endswith(_SUFFIX))
        except FileNotFoundError:
            return {}, {}
        except OSError as error:
            return {}, {self.directory: error}
        for path in (os.path.join(self.directory, name) for name in found):
            try:
                with open(path, "rb") as file:
                    pieces[path] = file.read()
            except OSError as error:
                unread[path] = error
        return pieces, unread

    def there(self, repository: str, *, hurried: bool = False) -> tuple[list[Proof], list[str]]:
        """The same of what lies in a repository. Raises StorageError, also where none is: a disk
        that is not mounted has no evidence either. `hurried`: one that may be lost is not waited
        for."""
        storage = self._wiring.storage(repository)
        if hurried:
            storage = Retry(self._wiring.bare_storage(repository), self._wiring.clock, attempts=3)
        if not lifecycle.exists(storage):
            raise there.missing(storage, "'drctl init' makes it", "bring it back")
        pieces: dict[str, bytes] = {}
        for info in storage.list(names.EVIDENCE):
            try:
                pieces[f"{storage.where}: {info.name}"] = storage.get(info.name)
            except NotFound:
                continue  # it went while we listed: the chain tells whether that matters
        return self._read(pieces)

    def _read(self, pieces: dict[str, bytes]) -> tuple[list[Proof], list[str]]:
        proofs, wrong = [], []
        for where, data in pieces.items():
            try:
                proof = evidence.read(data)
            except IntegrityError as error:
                wrong.append(f"{where}: {error.what}")
                continue
            if proof.name not in where:
                wrong.append(f"{where}: it is not what was written")
            elif proof.plan == self._plan.name:
                proofs.append(proof)
        return proofs, wrong

    # -- keys ---------------------------------------------------------------------------------

    def key(self) -> "Ed25519PrivateKey | None":
        """What signs; None where the plan names none. Raises KeyUnavailable, also where what it
        signs would be verified with another's public half."""
        reference = self._plan.evidence.key
        if reference is None:
            return None
        try:
            key = evidence.private_key(resolve(reference, self._wiring.loaded.base) + "\n")
        except KeyUnavailable as error:
            hint = error.hint or "'drctl init' makes it where none is; 'drctl report key' shows it"
            raise KeyUnavailable(f"evidence.key: {error.what}", hint=hint) from error
        half = self._beside()
        if half and evidence.key_id(half) != evidence.key_id(key.public_key()):
            raise KeyUnavailable(
                f"evidence.key: {self.key_path()}.pub is another key's public half",
                hint="where the key was exchanged 'drctl init' sets the old half aside, for "
                "evidence.former, and writes the new one",
            )
        return key

    def key_path(self) -> str | None:
        """The file of the private key, where it is one."""
        reference = self._plan.evidence.key
        return path_of(reference, self._wiring.loaded.base) if reference else None

    def keys(self) -> "Keys":
        """What evidence is verified with. Raises KeyUnavailable."""
        from drctl.report.signers import Keys

        return Keys(self._public_key(), tuple(map(self._former, self._plan.evidence.former)))

    def _former(self, named: str) -> "Ed25519PublicKey":
        path = os.path.join(self._wiring.loaded.base, named)
        return _public_half("evidence.former", path, "is the path in the plan right?")

    def _public_key(self) -> "Ed25519PublicKey | None":
        """The public half: of the file beside the private key, else of the private key itself."""
        if half := self._beside():
            return half
        key = self.key()
        return key.public_key() if key else None

    def _beside(self) -> "Ed25519PublicKey | None":
        path = self.key_path()
        if path is None or not os.path.exists(f"{path}.pub"):
            return None
        return _public_half("evidence.key", f"{path}.pub", "let it be read: it is no secret")


def _public_half(what: str, path: str, hint: str) -> "Ed25519PublicKey":
    """What is in a file. Raises KeyUnavailable."""
    try:
        with open(path, encoding="utf-8") as file:
            return evidence.public_key(file.read())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyUnavailable(f"{what}: {path}: {why}", hint=hint) from error
    except KeyUnavailable as error:
        raise KeyUnavailable(f"{what}: {path}: {error.what}") from error
