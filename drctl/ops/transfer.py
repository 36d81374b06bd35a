"""Many objects at a time, in bounded memory: spread over a pool, proven, and copied."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import cache
from hashlib import sha256
from typing import TypeVar

from drctl.codec import documents
from drctl.codec.keys import Secrets
from drctl.errors import AlreadyExists, IntegrityError, KeyUnavailable, NotFound, Unreadable
from drctl.repository import log, names
from drctl.storage.base import ObjectInfo, Storage

_T = TypeVar("_T")
_MOST_BYTES = 72 << 20  # under way: four packs
_MOST_OBJECTS = 64  # of the small ones, whose time is all latency


def spread(
    infos: Iterable[ObjectInfo], pool: Executor, work: Callable[[ObjectInfo], _T]
) -> Iterator[tuple[ObjectInfo, _T]]:
    """What `work` gives for each object, in their order. There is always the next one under way, as
    far as memory allows: one that is slow holds no others up."""
    under_way: deque[tuple[ObjectInfo, Future[_T]]] = deque()
    held_bytes = 0
    try:
        for info in infos:
            while under_way and not _has_room(len(under_way), held_bytes + info.size_bytes):
                held_bytes -= under_way[0][0].size_bytes
                yield _taken(under_way)
            under_way.append((info, pool.submit(work, info)))
            held_bytes += info.size_bytes
        while under_way:
            yield _taken(under_way)
    finally:
        for _, future in under_way:
            future.cancel()


def _has_room(objects: int, size_bytes: int) -> bool:
    return objects < _MOST_OBJECTS and size_bytes <= _MOST_BYTES


def _taken(under_way: deque[tuple[ObjectInfo, Future[_T]]]) -> tuple[ObjectInfo, _T]:
    info, future = under_way.popleft()
    return info, future.result()


def copied(
    source: Storage,
    copy: Storage,
    missing: Iterable[ObjectInfo],
    pool: Executor,
    secrets: Secrets | None = None,
) -> Iterator[tuple[ObjectInfo, str | None]]:
    """Each object once it is there, or with what is wrong with it at the source; None: it was taken
    away there since it was listed."""
    collects = cache(lambda: any(source.list(names.TRASH)))

    def one(info: ObjectInfo) -> str | None:
        try:
            copy_object(source, copy, info.name, secrets)
        except NotFound:
            # A whole piece of a log covers it by now; a snapshot was left to the rules again.
            if not (info.name.startswith((names.LOG, names.HOLDS)) or collects()):
                raise
            return None
        except (IntegrityError, Unreadable) as error:
            return error.what
        return ""

    return spread(missing, pool, one)


def copy_object(source: Storage, copy: Storage, name: str, secrets: Secrets | None = None) -> None:
    """Raises IntegrityError, Unreadable: what is damaged at the source is never written, since the
    copy may hold the last sound one."""
    put_proven(copy, name, proven(source, name, secrets))


def proven(storage: Storage, name: str, secrets: Secrets | None = None) -> bytes:
    """An object's bytes, which are what its name says. Raises IntegrityError, Unreadable."""
    data = storage.get(name)
    check_object(storage.where, name, data, secrets)
    return data


def put_proven(storage: Storage, name: str, data: bytes) -> None:
    """What stands there under the name, and is not the same, is torn, damaged or foreign."""
    is_hashed = name.startswith(names.HASHED)
    try:
        storage.put(name, data, replace=not is_hashed)
    except AlreadyExists:
        storage.put(name, data, replace=True)


def damage_of(storage: Storage, name: str) -> str:
    """What is wrong with an object, as anyone can see who reads it whole; empty: nothing."""
    try:
        proven(storage, name)
    except (IntegrityError, Unreadable) as error:
        return error.what
    except NotFound:
        return ""  # it went since it was listed
    return ""


def check_object(where: str, name: str, data: bytes, secrets: Secrets | None = None) -> None:
    """What anyone can prove of an object without a key; with `secrets` the config's mark. Raises
    IntegrityError naming it."""
    if name.startswith(names.HASHED):
        if sha256(data).hexdigest() != names.digest_of(name):
            raise IntegrityError(f"{where}: {name} is not what was written")
        if name.startswith(names.LOG):
            log.check(where, name, data)
        return
    try:
        if name == names.CONFIG:
            _check_config(data, secrets)
        elif name.startswith(names.SESSIONS):
            _check_id(documents.check_sealed(documents.SESSION_MAGIC, data), name)
        elif name.startswith(names.KEYS):
            _check_id(documents.check_sealed(documents.KEYS_MAGIC, data), name)
    except IntegrityError as error:
        what = error.what if name == names.CONFIG else f"{name} {error.what}"
        raise IntegrityError(f"{where}: {what}") from error


def _check_config(data: bytes, secrets: Secrets | None) -> None:
    """Secrets of another repository prove nothing."""
    try:
        documents.decode_config(data, secrets)
    except KeyUnavailable:
        documents.decode_config(data, None)


def _check_id(sealed: documents.Sealed, name: str) -> None:
    if sealed.id.hex() != names.digest_of(name):
        raise IntegrityError("stands under another's name")
