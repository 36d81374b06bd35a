"""A repository that is open: its secrets and its objects by kind."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from hashlib import sha256

from drctl.clock import Randomness
from drctl.codec import documents, pack, seal
from drctl.codec.keys import Secrets
from drctl.codec.recipients import Identity, Recipient
from drctl.codec.table import PackTable
from drctl.errors import IntegrityError, NotFound, Unreadable
from drctl.repository import names
from drctl.repository.index import Index, Present
from drctl.storage.base import ObjectInfo, Storage

_TAIL_GUESS_BYTES = 64 * 1024  # holds the table of contents of most packs
_LEAST_BYTES = 64  # no pack and no session is so small
_INDEX_TRIES = 5


class Repository:
    """Reads and writes whole objects of one repository. Thread safe where its storage is.

    Methods raise StorageError, IntegrityError (naming the object) and KeyUnavailable.
    """

    def __init__(
        self,
        storage: Storage,
        secrets: Secrets,
        recipients: tuple[Recipient, ...],
        randomness: Randomness,
    ) -> None:
        self.storage = storage
        self.secrets = secrets
        self.recipients = recipients
        self.claimed = recipients  # by its config; the writer credential may be another one's
        self.randomness = randomness
        # Told the names of what a snapshot needs, before it is committed: a locked bucket's.
        self.hold: Callable[[Iterable[str]], None] | None = None

    @property
    def where(self) -> str:
        return self.storage.where

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """An object's bytes, or a range of them. Damage to one object must not look like a failure
        of the storage: others are still there."""
        try:
            return self.storage.get(name, offset, length)
        except Unreadable as error:
            raise IntegrityError(error.what, hint=error.hint) from error

    # -- sealed metadata ----------------------------------------------------------------------

    def put_meta(self, folder: str, magic: bytes, plain: bytes) -> str:
        """Seal and store. Gives the object's digest: its name within the folder."""
        data = seal.seal_meta(
            self.secrets.meta_key, self.secrets.repository_id, magic, plain, self.randomness
        )
        name = names.hashed(folder, data)
        self.storage.put(name, data)
        return names.digest_of(name)

    def get_meta(self, folder: str, magic: bytes, digest: str) -> bytes:
        """The plain bytes of a sealed object, proven to be the one of that name."""
        name = names.named(folder, digest)
        data = self.read(name)
        if sha256(data).hexdigest() != digest:
            raise IntegrityError(f"{self.where}: {name} is not what was written")
        with self.naming(name):
            return self._open(magic, data)

    def _open(self, magic: bytes, data: bytes) -> bytes:
        return seal.open_meta(self.secrets.meta_key, self.secrets.repository_id, magic, data)

    @contextmanager
    def naming(self, name: str) -> Iterator[None]:
        """An IntegrityError from below learns which object it is about."""
        try:
            yield
        except IntegrityError as error:
            raise IntegrityError(f"{self.where}: {name} {error.what}", hint=error.hint) from error

    # -- the index ----------------------------------------------------------------------------

    def load_index(
        self,
        damaged: Callable[[str], None],
        pool: Executor | None = None,
        *,
        only_present: bool = False,
        condemned: frozenset[bytes] = frozenset(),
    ) -> Index:
        """All index objects. One that is damaged is told to `damaged`, and what it held is read
        from the packs instead. Packs that are lost come last, so that a blob is looked for where
        it was stored again; with `only_present` they are left out, and so are `condemned` ones and
        those of `condemned` sessions.

        Collection may take index objects away meanwhile; others hold what they held, so this begins
        again."""
        for _ in range(_INDEX_TRIES - 1):
            with suppress(NotFound):
                return self._load_index(damaged, pool, condemned, only_present=only_present)
        return self._load_index(damaged, pool, condemned, only_present=only_present)

    def _load_index(
        self,
        damaged: Callable[[str], None],
        pool: Executor | None,
        condemned: frozenset[bytes],
        *,
        only_present: bool,
    ) -> Index:
        packs, sessions, listed = (pool.map if pool else map)(
            lambda folder: list(self.storage.list(folder)),
            (names.PACKS, names.SESSIONS, names.INDEX),
        )
        index = Index(_present(packs, sessions, condemned))
        index.expect(sum(info.size_bytes for info in listed))
        found = [names.digest_of(info.name) for info in listed]
        whole = True
        with_lost = []
        plains = (pool.map if pool else map)(self._index_or_error, found)
        for digest, plain in zip(found, plains, strict=True):
            try:
                if not self._take_in(index, digest, plain):
                    with_lost.append(plain)
            except IntegrityError as error:
                whole = False
                damaged(f"{error.what}; what it held is read from the packs instead")
        if not whole:
            self.index_from_packs(index, damaged)
        if not only_present:
            index.take_lost()
            for plain in with_lost:
                index.add(_raise_or_give(plain))
        return index

    def _take_in(self, index: Index, digest: str, plain: bytes | IntegrityError) -> bool:
        """As `Index.add`."""
        read = _raise_or_give(plain)
        with self.naming(names.INDEX + digest):
            return index.add(read)

    def _index_or_error(self, digest: str) -> bytes | IntegrityError:
        try:
            return self.get_meta(names.INDEX, documents.INDEX_MAGIC, digest)
        except IntegrityError as error:
            return error
        except NotFound as error:
            return IntegrityError(f"{error.what} any more")

    def index_from_packs(self, index: Index, damaged: Callable[[str], None]) -> list[PackTable]:
        """Add the packs that the index does not know. Gives their tables."""
        added = []
        for info in self.storage.list(names.PACKS):
            if not names.is_id(info.name) or index.knows_pack(_digest_bytes(info.name)):
                continue
            try:
                found = self.read_toc(info)
            except IntegrityError as error:
                damaged(error.what)
                continue
            index.add_pack(found)
            added.append(found)
        return added

    def read_toc(self, info: ObjectInfo) -> PackTable:
        """A pack's own table of contents, read from its end."""
        guess = min(info.size_bytes, _TAIL_GUESS_BYTES)
        last = self.read(info.name, info.size_bytes - guess, guess)
        with self.naming(info.name):
            length = pack.toc_length(last[-pack.TAIL.size :], info.size_bytes) + pack.TAIL.size
        if length > guess:
            last = self.read(info.name, info.size_bytes - length, length)
        return self._open_toc(info.name, last[-length:], info.size_bytes)

    def toc_in(self, name: str, data: bytes) -> PackTable:
        """The same from a whole pack."""
        with self.naming(name):
            length = pack.toc_length(data[-pack.TAIL.size :], len(data)) + pack.TAIL.size
        return self._open_toc(name, data[-length:], len(data))

    def _open_toc(self, name: str, last: bytes, pack_bytes: int) -> PackTable:
        """`last`: the sealed table of contents and what stands behind it."""
        with self.naming(name):
            plain = self._open(pack.TOC_MAGIC, last[: -pack.TAIL.size])
            return PackTable(_digest_bytes(name), pack.decode_toc(plain, pack_bytes - len(last)))

    def seal_toc(self, plain: bytes) -> bytes:
        return seal.seal_meta(
            self.secrets.meta_key,
            self.secrets.repository_id,
            pack.TOC_MAGIC,
            plain,
            self.randomness,
        )

    # -- sessions -----------------------------------------------------------------------------

    def start_session(self) -> tuple[bytes, seal.DataSeal]:
        """A fresh data key, sealed to every recipient. Gives the session's id and its seal."""
        session, data_key = self.randomness(16), self.randomness(32)
        data = documents.encode_sealed(
            documents.SESSION_MAGIC,
            self.secrets.repository_id,
            session,
            data_key,
            self.recipients,
        )
        self.storage.put(names.SESSIONS + session.hex(), data)
        return session, seal.DataSeal(self.secrets.repository_id, session, data_key)

    def open_session(self, session: bytes, identity: Identity) -> seal.DataSeal:
        """The seal of an earlier run."""
        name = names.SESSIONS + session.hex()
        with self.naming(name):
            data_key = documents.open_sealed(
                documents.SESSION_MAGIC, self.read(name), session, identity
            )
        return seal.DataSeal(self.secrets.repository_id, session, data_key)


def _present(
    packs: Iterable[ObjectInfo], sessions: Iterable[ObjectInfo], condemned: frozenset[bytes]
) -> Present:
    here = {name: size for name, size in _sizes(packs).items() if name not in condemned}
    return Present(here, frozenset(_sizes(sessions)) - condemned, condemned)


def _sizes(listed: Iterable[ObjectInfo]) -> dict[bytes, int]:
    """Ids and sizes of what was listed. What cannot be whole is left out."""
    return {
        bytes.fromhex(names.digest_of(info.name)): info.size_bytes
        for info in listed
        if info.size_bytes >= _LEAST_BYTES and names.is_id(info.name)
    }


def _raise_or_give(result: bytes | IntegrityError) -> bytes:
    if isinstance(result, IntegrityError):
        raise result
    return result


def _digest_bytes(name: str) -> bytes:
    try:
        return bytes.fromhex(names.digest_of(name))
    except ValueError as error:
        raise IntegrityError(f"{name} is not an object of a drctl repository") from error
