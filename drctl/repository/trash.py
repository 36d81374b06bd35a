"""What is to go: marks, and the manifests of snapshots that were removed.

A mark names objects that nothing needs. It is swept a grace period after it was seen to be there;
until then everything it names can be had back. docs/format.md holds the protocol.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from drctl.codec import UNREADABLE
from drctl.errors import AlreadyExists, IntegrityError, NotFound, Unreadable
from drctl.repository import names, runs
from drctl.repository.repository import Repository
from drctl.storage.base import Storage

MARK_MAGIC = b"DRCTLG01"
_CURE = "nobody can tell what is to go while it does not read: run 'drctl verify --repair'"


class Mark(msgspec.Struct, frozen=True):
    """Names below each folder. What a mark names is deleted in this order."""

    snapshots: tuple[str, ...] = ()  # below trash/snapshots/
    refs: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    log: tuple[str, ...] = ()  # whole names
    sessions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field) for field in self.__struct_fields__)


class Present(Struct, frozen=True):
    """When something is noted, beside what the storage's clock says of it, which may be wrong:
    `host_ns` by the host's own clock, and the newest time that the storage had given to anything by
    then. An older drctl noted neither."""

    host_ns: int = 0
    latest_ns: int = 0


_UNKNOWN = Present()


class _Since(msgspec.Struct, frozen=True):
    """Runs that had a sign when the mark was there: those that may not know it."""

    runs: tuple[str, ...]
    host_ns: int = 0
    latest_ns: int = 0


class Seen(Struct, frozen=True):
    """`since_ns`: when the mark was there, by the storage's clock; None: nobody has said so yet.
    `witnesses`: ids of runs that may not know it. `is_swept`: a sweep of it has begun. `noted`:
    what else was known when that was said."""

    digest: str
    mark: Mark
    since_ns: int | None
    witnesses: tuple[str, ...]
    is_swept: bool
    noted: Present = _UNKNOWN


class Condemned(Struct, frozen=True):
    """Ids of packs and of sessions, digests of refs, names of pieces of logs. A pack that no mark
    names is of no use when its session is going: somebody who was taken for dead may have put it
    after a sweep looked."""

    packs: frozenset[bytes]
    sessions: frozenset[bytes]
    refs: frozenset[str]
    log: frozenset[str]

    @property
    def ids(self) -> frozenset[bytes]:
        return self.packs | self.sessions


def storage_now_ns(storage: Storage) -> int:
    """The present by the storage's own clock."""
    storage.put(names.CLOCK, b"", replace=True)
    return storage.head(names.CLOCK).modified_ns


def put_mark(repository: Repository, mark: Mark, present: Present = _UNKNOWN) -> str:
    """Make a mark, and say since when it is there. Gives its digest."""
    digest = repository.put_meta(names.MARKS, MARK_MAGIC, msgspec.msgpack.encode(mark))
    note_since(repository.storage, digest, present)
    return digest


def note_since(storage: Storage, digest: str, present: Present = _UNKNOWN) -> None:
    """The mark is there: whoever has no sign yet will see it."""
    under_way = tuple(sign.id for sign in runs.signs(storage, names.WRITING))
    since = _Since(under_way, present.host_ns, present.latest_ns)
    storage.put(names.SINCE + digest, msgspec.json.encode(since), replace=True)


def begin_sweep(storage: Storage, digest: str, own_id: str) -> None:
    """Announce a sweep. Each has an announcement of its own: nobody takes back another's."""
    storage.put(f"{names.SWEEPING}{digest}/{own_id}", b"")


def end_sweep(storage: Storage, digest: str, own_id: str) -> None:
    """The sweep is given up before anything was deleted."""
    storage.delete(f"{names.SWEEPING}{digest}/{own_id}")


def remove_mark(storage: Storage, digest: str) -> None:
    """The mark first: what else is about it means nothing without it."""
    storage.delete(names.MARKS + digest)
    storage.delete(names.SINCE + digest)
    for info in list(storage.list(f"{names.SWEEPING}{digest}/")):
        storage.delete(info.name)


def forget_gone(storage: Storage) -> None:
    """What is about marks that are gone: whoever removed one was killed, or another swept it too.
    Listed before the marks, each of which is put before anything about it and never comes back.
    Foreign files stay."""
    about = [*storage.list(names.SINCE), *storage.list(names.SWEEPING)]
    marks = listed(storage, names.MARKS)
    for info in about:
        if names.is_id(info.name) and info.name.split("/")[2] not in marks:
            storage.delete(info.name)


def note_swept(repository: Repository, refs: tuple[str, ...]) -> None:
    """A sweep is about to delete refs. Whoever finds a snapshot without them knows then that its
    run came too late and was killed, and that nothing was lost."""
    if refs:
        repository.put_meta(names.SWEPT, MARK_MAGIC, msgspec.msgpack.encode(Mark(refs=refs)))


def swept_refs(repository: Repository) -> frozenset[str]:
    """Those that sweeps took of late. Raises IntegrityError."""
    marks = _marks(repository, names.SWEPT).values()
    return frozenset(digest for mark in marks for digest in mark.refs)


def read_mark(repository: Repository, digest: str, folder: str = names.MARKS) -> Mark | None:
    """None: it is gone meanwhile. Raises IntegrityError."""
    try:
        plain = repository.get_meta(folder, MARK_MAGIC, digest)
        with repository.naming(folder + digest):
            return _decoded(plain)
    except NotFound:
        return None
    except IntegrityError as error:
        raise IntegrityError(error.what, hint=_CURE) from error


def _decoded(plain: bytes) -> Mark:
    """Whoever can write here can seal anything: what it names must be names."""
    try:
        mark = msgspec.msgpack.decode(plain, type=Mark)
        for name in (*mark.packs, *mark.sessions):
            bytes.fromhex(name)
    except (*UNREADABLE, ValueError) as error:
        raise IntegrityError(f"does not decode: {error}") from error
    return mark


def condemned(repository: Repository, *, reviving: bool = False) -> Condemned:
    """What a run that begins now must not lean on: what marks name, or, for a run that revives
    marked objects, what is being swept. A mark that does not read is an error."""
    if reviving:
        going = [s.mark for s in seen(repository) if s.is_swept]
    else:
        going = list(_marks(repository).values())
    return Condemned(
        frozenset(bytes.fromhex(pack) for mark in going for pack in mark.packs),
        frozenset(bytes.fromhex(session) for mark in going for session in mark.sessions),
        frozenset(digest for mark in going for digest in mark.refs),
        frozenset(name for mark in going for name in mark.log),
    )


def seen(repository: Repository) -> list[Seen]:
    """All marks, oldest first."""
    storage = repository.storage
    since = {names.digest_of(i.name): i.modified_ns for i in storage.list(names.SINCE)}
    swept = {i.name.split("/")[2] for i in storage.list(names.SWEEPING)}
    found = []
    for digest, mark in _marks(repository).items():
        said = _said(storage, digest) if digest in since else None
        since_ns = None if said is None else since[digest]
        witnesses, noted = said or ((), _UNKNOWN)
        found.append(Seen(digest, mark, since_ns, witnesses, digest in swept, noted))
    return sorted(found, key=lambda s: s.since_ns or 0)


def _marks(repository: Repository, folder: str = names.MARKS) -> dict[str, Mark]:
    """By digest. One that goes meanwhile is left out."""
    digests = sorted(listed(repository.storage, folder))
    read = ((digest, read_mark(repository, digest, folder)) for digest in digests)
    return {digest: mark for digest, mark in read if mark is not None}


def _said(storage: Storage, digest: str) -> tuple[tuple[str, ...], Present] | None:
    """The witnesses, and what was noted. None: it does not read, which is as if nobody had said so
    yet: it is said anew, and the grace period begins then."""
    try:
        since = msgspec.json.decode(storage.get(names.SINCE + digest), type=_Since)
    except NotFound:
        return (), _UNKNOWN
    except (Unreadable, *UNREADABLE):
        return None
    return since.runs, Present(since.host_ns, since.latest_ns)


# -- snapshots ------------------------------------------------------------------------------------


def keep_copy(storage: Storage, digest: str) -> None:
    """A removed snapshot's manifest is in the trash before it is taken from the snapshots. One that
    an undelete left there is put anew: its timestamp tells that no earlier mark means it."""
    _copy(storage, names.SNAPSHOTS + digest, names.TRASHED + digest, replace=True)


def keep_anew(storage: Storage, digest: str) -> None:
    """As if it had been removed now."""
    _copy(storage, names.TRASHED + digest, names.TRASHED + digest, replace=True)


def put_back(storage: Storage, digest: str) -> None:
    """The reverse; see ops.undelete for when it may be done."""
    _copy(storage, names.TRASHED + digest, names.SNAPSHOTS + digest)


def _copy(storage: Storage, name: str, to: str, *, replace: bool = False) -> None:
    try:
        storage.put(to, storage.get(name), replace=replace)
    except (AlreadyExists, NotFound):
        return  # it is there, or another run moved it: its name says that it holds the same bytes


def listed(storage: Storage, folder: str) -> set[str]:
    """Digests below a folder. What foreign files a disk holds there is left out."""
    return {names.digest_of(i.name) for i in storage.list(folder) if names.is_id(i.name)}


def held_back(marks: Iterable[Seen]) -> frozenset[str]:
    """Snapshots that a sweep is taking away: nobody brings them back."""
    return frozenset(name for s in marks if s.is_swept for name in s.mark.snapshots)
