"""Copy what is missing from one repository to another, still sealed, without any private key.

Objects go in commit order, so the copy is a valid repository at every instant; each is proven by
its name before it is written, so damage here never becomes the only copy there. Damage to one
object is told at the end and keeps no other from being copied.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from drctl.codec import documents
from drctl.errors import AlreadyExists, IntegrityError, NotFound, StorageError, Unreadable
from drctl.events import Notice, Phase, Progress, Reporter
from drctl.logpieces import superseded
from drctl.ops.leaving import ALL, Leaving
from drctl.repository import log, names
from drctl.storage.base import ObjectInfo, Storage

_AHEAD = 16  # objects under way, a pack being about 16 MiB


@dataclass(frozen=True, slots=True)
class ReplicateResult:
    """`objects` and `size_bytes` were copied; `present` objects were there already."""

    objects: int
    size_bytes: int
    present: int
    snapshots: tuple[str, ...] = ()  # names of those that are new there


def replicate(
    source: Storage,
    copy: Storage,
    pool: Executor,
    report: Reporter,
    leaving: Leaving = ALL,
    before_commit: Callable[[], None] = lambda: None,
) -> ReplicateResult:
    """Make `copy` hold all that `source` holds, but for what it is not to be given. Raises
    StorageError, IntegrityError, and what `before_commit` raises before snapshots are copied."""
    report.emit(Phase(f"replicating {source.where} to {copy.where}"))
    refuse_another(source, copy)
    objects = size_bytes = present = 0
    damaged: list[str] = []
    # Snapshots are listed first, then what they need: a backup may be adding to both meanwhile, and
    # the copy must not get a snapshot without its packs.
    listed = {folder: list(source.list(folder)) for folder in reversed(names.COPY_ORDER)}
    snapshots: list[str] = []
    for folder in names.COPY_ORDER:
        if folder == names.SNAPSHOTS:
            before_commit()
        there = {info.name: info.size_bytes for info in copy.list(folder)}
        missing = [
            info
            for info in listed[folder]
            if there.get(info.name) != info.size_bytes and info.name not in leaving.names
        ]
        present += len(there)
        for info, damage in _copied(source, copy, missing, pool):
            if damage:
                damaged.append(damage)
                report.emit(Notice("warning", damage))
                continue
            if folder == names.SNAPSHOTS:
                snapshots.append(info.name)
            objects += 1
            size_bytes += info.size_bytes
            report.emit(Progress(size_bytes, 0, objects, stored_bytes=size_bytes))
    _conclude(damaged)
    return ReplicateResult(objects, size_bytes, present, tuple(snapshots))


def copy_logs(source: Storage, copy: Storage, pool: Executor) -> int:
    """Bring the logs of databases up to date, and nothing else: quick enough for every few seconds.
    Parts that a whole piece covers by now go from the copy, too. Gives how many pieces were
    copied. Raises StorageError, IntegrityError."""
    refuse_another(source, copy)
    listed = {folder: list(source.list(folder)) for folder in (names.LOG, names.SESSIONS)}
    damaged = []
    there: dict[str, int] = {}
    missing: list[ObjectInfo] = []
    for folder in (names.SESSIONS, names.LOG):  # a piece is of no use without its session
        there = {info.name: info.size_bytes for info in copy.list(folder)}
        missing = [i for i in listed[folder] if there.get(i.name) != i.size_bytes]
        damaged += [damage for _, damage in _copied(source, copy, missing, pool) if damage]
    pieces = [log.piece(copy.where, name, 0) for name in {*there, *(i.name for i in missing)}]
    for piece in superseded(pieces):
        with suppress(StorageError):  # it may not delete there: what stays does no harm
            copy.delete(piece.name)
    _conclude(damaged)
    return len(missing)


def refuse_another(source: Storage, copy: Storage) -> None:
    """A place that holds another repository must stay as it is: its config would be overwritten,
    and then nobody could read it any more."""
    ours, theirs = _repository_id(source), _repository_id(copy)
    if ours and theirs and ours != theirs:
        raise StorageError(
            f"{copy.where} holds another repository ({theirs.hex()[:8]}) than {source.where} "
            f"({ours.hex()[:8]}): nothing was copied",
            hint="was the first made anew? name an empty place for its copy; the other still reads",
        )


def _repository_id(storage: Storage) -> bytes | None:
    """None where there is no config, or none that reads."""
    try:
        return documents.decode_config(storage.get(names.CONFIG), None).repository_id
    except (NotFound, Unreadable, IntegrityError):
        return None


def _conclude(damaged: list[str]) -> None:
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise IntegrityError(
            f"{damaged[0]}{more}: not copied",
            hint="everything else was; 'drctl verify' tells which snapshots need it",
        )


def _copied(
    source: Storage, copy: Storage, missing: list[ObjectInfo], pool: Executor
) -> Iterator[tuple[ObjectInfo, str]]:
    """Each object once it is there, or with what is wrong with it. A bounded number is under way
    at a time."""

    def one(info: ObjectInfo) -> tuple[ObjectInfo, str]:
        try:
            _copy(source, copy, info)
        except NotFound:
            if not info.name.startswith(names.LOG):
                raise
            return info, ""  # a whole piece covers it by now, and its writer deleted it
        except (IntegrityError, Unreadable) as error:
            return info, error.what
        return info, ""

    waiting = iter(missing)
    while group := list(islice(waiting, _AHEAD)):
        yield from pool.map(one, group)


def _copy(source: Storage, copy: Storage, info: ObjectInfo) -> None:
    data = source.get(info.name)
    check_object(source.where, info.name, data)
    is_hashed = info.name.startswith(names.HASHED)
    try:
        # A copy of the same name but another length is torn or foreign: the proven one replaces it.
        copy.put(info.name, data, replace=not is_hashed)
    except AlreadyExists:
        copy.put(info.name, data, replace=True)


def check_object(where: str, name: str, data: bytes) -> None:
    """What anyone can prove of an object without a key. Raises IntegrityError naming it."""
    if name.startswith(names.HASHED):
        if sha256(data).hexdigest() != names.digest_of(name):
            raise IntegrityError(f"{where}: {name} is not what was written")
        if name.startswith(names.LOG):
            log.check(where, name, data)
        return
    try:
        if name == names.CONFIG:
            documents.decode_config(data, None)
        elif name.startswith(names.SESSIONS):
            _check_id(documents.check_sealed(documents.SESSION_MAGIC, data), name)
        elif name.startswith(names.KEYS):
            _check_id(documents.check_sealed(documents.KEYS_MAGIC, data), name)
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {name} {error.what}") from error


def _check_id(sealed: documents.Sealed, name: str) -> None:
    if sealed.id.hex() != names.digest_of(name):
        raise IntegrityError("stands under another's name")
