"""Copy what is missing from one repository to another, still sealed, without any private key.

Objects go in commit order, so the copy is a valid repository at every instant; each is proven by
its name before it is written, so damage here never becomes the only copy there.
"""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from drctl.codec import documents
from drctl.errors import AlreadyExists, IntegrityError
from drctl.events import Phase, Progress, Reporter
from drctl.repository import log, names
from drctl.storage.base import ObjectInfo, Storage

_AHEAD = 16  # objects under way, a pack being about 16 MiB


@dataclass(frozen=True, slots=True)
class ReplicateResult:
    """`objects` and `size_bytes` were copied; `present` objects were there already."""

    objects: int
    size_bytes: int
    present: int


def replicate(source: Storage, copy: Storage, pool: Executor, report: Reporter) -> ReplicateResult:
    """Make `copy` hold all that `source` holds. Raises StorageError, IntegrityError."""
    report.emit(Phase(f"replicating {source.where} to {copy.where}"))
    objects = size_bytes = present = 0
    for folder in names.COPY_ORDER:
        there = {info.name: info.size_bytes for info in copy.list(folder)}
        missing = [i for i in source.list(folder) if there.get(i.name) != i.size_bytes]
        present += len(there)
        for info in _copied(source, copy, missing, pool):
            objects += 1
            size_bytes += info.size_bytes
            report.emit(Progress(size_bytes, 0, objects, stored_bytes=size_bytes))
    return ReplicateResult(objects, size_bytes, present)


def _copied(
    source: Storage, copy: Storage, missing: list[ObjectInfo], pool: Executor
) -> Iterator[ObjectInfo]:
    """Each object once it is there. A bounded number is under way at a time."""

    def one(info: ObjectInfo) -> ObjectInfo:
        _copy(source, copy, info)
        return info

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
