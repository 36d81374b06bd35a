"""WAL file by file, as `archive_command` hands it out and `restore_command` asks for it.

PostgreSQL runs both in the data directory, so the cluster's identity is read there.
"""

import os
import struct
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from drctl.engines import postgres_layout as layout
from drctl.engines.base import Log, LogSink
from drctl.engines.postgres_recovery import put_as_it_is
from drctl.engines.postgres_wal import number_of
from drctl.engines.tree_look import reason
from drctl.errors import SourceError, StorageError, TargetRefused
from drctl.logpieces import LogFile, LogPiece, by_file

# The first page of a segment: magic, flags, timeline, position, rest; system id, sizes.
_PAGE = struct.Struct("<HHIQIxxxxQII")
_LONG_HEADER = 2
_COMPARERS = 8
_ADDRESS = struct.Struct("<Q")
_ADDRESS_AT = 8  # of each page


def system_id(top: str) -> str:
    """Of the cluster in a data directory. Raises SourceError."""
    path = os.path.join(top, "global", "pg_control")
    try:
        with open(path, "rb") as file:
            return str(struct.unpack("<Q", file.read(8))[0])
    except (OSError, struct.error) as error:
        raise SourceError(
            f"{top} is no PostgreSQL data directory: there is no cluster here",
            hint="PostgreSQL runs its commands in PGDATA; by hand: cd there first",
        ) from error


def push(path: str, top: str, open_log: Callable[[str], LogSink]) -> bool:
    """Store a file whole. False: it is stored already, with the same content. Raises SourceError
    for what is no WAL or not whole, or stored with another content: a second archiver writes."""
    file = os.path.basename(path)
    if not layout.ARCHIVED.fullmatch(file):
        raise SourceError(
            f"{file} is not the name of a WAL file: nothing was stored",
            hint="archive_command gives it as %p: a segment, a .partial, a .history or a .backup",
        )
    data, own = _read(path), system_id(top)
    if layout.SEGMENT.fullmatch(file):
        _check_segment(file, data, own, is_complete=_is_handed_out(file, top))
    log = open_log(own)
    _refuse_other(log, file, memoryview(data))
    if log.is_whole(file):
        return False
    log.append(file, 0, data, whole=True)
    log.clean(file)
    return True


def _refuse_other(log: LogSink, file: str, data: memoryview) -> None:
    """Of what a stream was storing there may be thousands of parts, and each is a request."""

    def differs(piece: LogPiece) -> bool:
        return piece.end > len(data) or log.differs(piece, data[piece.offset :])

    with ThreadPoolExecutor(_COMPARERS, "drctl-compare") as pool:
        if any(pool.map(differs, log.pieces(file))):
            raise SourceError(
                f"{file} is in the repository with another content",
                hint="two servers write the log of this asset: a restored copy of it, or a second "
                "archiver; end that one, or give it an asset of its own",
            )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SourceError(f"{path}: {reason(error)}", hint="PostgreSQL will try again") from error


def _is_handed_out(file: str, top: str) -> bool:
    """Whether the server itself says that a segment is complete and is to be archived."""
    ready = os.path.join(layout.WAL.decode(), "archive_status", f"{file}.ready")
    return os.path.exists(os.path.join(top, ready))


def _check_segment(file: str, data: bytes, own: str, *, is_complete: bool) -> None:
    """As long as it says, of this cluster, and all of it what its name says. Of one that is
    complete the begin is enough: a crash just after it was closed early leaves old pages behind
    its end, which no replay reads."""
    if len(data) < _PAGE.size:
        raise SourceError(f"{file} is cut at {len(data)} bytes")
    _, flags, _, _, _, found, size, page = _PAGE.unpack_from(data)
    is_wal = flags & _LONG_HEADER and page > _PAGE.size and size % page == 0
    if not is_wal or str(found) != own:
        raise SourceError(f"{file} is no WAL of this cluster")
    if len(data) != size:
        raise SourceError(
            f"{file} is {len(data)} bytes long, not {size}: it is cut",
            hint="nothing was stored; look at the disk of pg_wal",
        )
    begin = number_of(file, size) * size
    looked = data[:page] if is_complete else data
    if any(at not in (0, begin + offset) for offset, at in _addresses(looked, page)):
        raise SourceError(
            f"{file} holds WAL of before: it is not written yet, or not to its end",
            hint="nothing was stored; leave it to archive_command, which PostgreSQL calls for a "
            "segment that is complete",
        )


def _addresses(data: bytes, page: int) -> Iterator[tuple[int, int]]:
    """Of each page in the segment, and in the log as the page says. A segment that is not needed
    any more gets a later one's name and is written over. What is behind the end of one that was
    closed early is zeros."""
    for offset in range(0, len(data), page):
        yield offset, _ADDRESS.unpack_from(data, offset + _ADDRESS_AT)[0]


def fetch(file: str, to: str, log: Log, top: str) -> bool:
    """Put a file where PostgreSQL, in the data directory `top`, wants it, whole or not at all.
    False: there is no such file. Raises TargetRefused, IntegrityError, StorageError also for a gap,
    which PostgreSQL would take for the end of the log."""
    files = by_file(log.pieces())
    # Parts go while they are listed, once the whole is there.
    if _is_gap(file, files) and _is_gap(file, files := by_file(log.pieces())):
        if _has_other_source(file, top):
            return False
        raise StorageError(
            f"the log has a gap: {file} is not whole there, though later ones are",
            hint="another repository of the plan may hold it (--from); or let recovery end before "
            "it, by a recovery_target, with recovery_prefetch = off: else it is read ahead of that",
        )
    found = files.get(file)
    if found is None or not found.pieces:
        return False
    each = segment_bytes_of(top)
    partial = f"{to}.drctl-partial"
    try:
        with open(partial, "wb") as out:
            put_as_it_is(log, found, each, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, to)
    except OSError as error:
        raise TargetRefused(f"{to}: {reason(error)}", hint="make room or rights there") from error
    finally:
        with suppress(OSError):
            os.unlink(partial)  # nobody else would take it out of pg_wal
    return True


def _is_gap(file: str, files: Mapping[str, LogFile]) -> bool:
    """Whether a segment is missing between others of its timeline, or a part of it is."""
    found = files.get(file)
    if not layout.SEGMENT.fullmatch(file) or (found and found.whole):
        return False
    mine = [f for f in files if layout.SEGMENT.fullmatch(f) and f[:8] == file[:8]]
    if found:
        return found.is_torn or file != max(mine)
    return bool(mine) and min(mine) < file < max(mine)


def _has_other_source(file: str, top: str) -> bool:
    """Whether a server looks elsewhere when it is told that there is no such file: in pg_wal, where
    a snapshot brought it; at its primary, as a standby."""
    return is_standby(top) or os.path.exists(os.path.join(top, layout.WAL.decode(), file))


def is_standby(top: str) -> bool:
    """Whether it asks again, and never takes for the end of the log what it does not get."""
    return os.path.exists(os.path.join(top, "standby.signal"))


def segment_bytes_of(top: str) -> int:
    """How long a segment of the cluster in a data directory is: as long as those in pg_wal, else as
    PostgreSQL makes them by itself. Raises SourceError."""
    wal = os.path.join(top, "pg_wal")
    try:
        found = [name for name in os.listdir(wal) if layout.SEGMENT.fullmatch(name)]
        return os.path.getsize(os.path.join(wal, found[0])) if found else 16 << 20
    except OSError as error:
        raise SourceError(
            f"{wal}: {reason(error)}: there is no cluster here",
            hint="PostgreSQL runs restore_command in its data directory; by hand: cd there first",
        ) from error
