"""Reading the files of a running cluster in place, page by page proven.

A relation's file is read ahead by two threads, which also prove its page checksums; a page that
fails is read once more, since the server may have been writing it. A file that shrinks or vanishes
meanwhile is no trouble: replaying the WAL of the backup makes it what it must be.
"""

import os
import struct
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from msgspec.structs import replace

from drctl.codec.limits import SMALL_BYTES
from drctl.engines import postgres_layout as layout
from drctl.engines.tree_look import reason
from drctl.errors import SourceError
from drctl.model import Entry, Kind

_WINDOW_BYTES = 4 << 20
_WINDOWS_AHEAD = 4
_RACY_NS = 2 * 10**9  # a file changed so short before it was read may change unseen after it
_SIGNATURE = struct.Struct("<qqqqQ")


@dataclass(slots=True)
class Proof:
    """How pages are proven. `before_lsn`: later pages are written anew by replay."""

    page_bytes: int
    before_lsn: int
    enabled: bool
    bad: dict[bytes, list[int]] = field(default_factory=dict)  # path -> blocks

    def look(self, path: bytes, descriptor: int, data: bytes, offset: int) -> bytes:
        """The data, with pages that failed read once more; those that fail again are noted."""
        if not self.enabled or not layout.is_relation(path):
            return data
        from drctl.engines.postgres_pages import bad_pages

        page, first = self.page_bytes, layout.first_block(path) + offset // self.page_bytes
        again = bytearray()
        for place in bad_pages(memoryview(data), page, first, self.before_lsn):
            again = again or bytearray(data)
            fresh = os.pread(descriptor, page, offset + place * page)
            if len(fresh) < page:
                continue  # the file was cut meanwhile
            again[place * page : (place + 1) * page] = fresh
            if bad_pages(memoryview(fresh), page, first + place, self.before_lsn):
                self.bad.setdefault(path, []).append(first + place)
        return bytes(again) or data

    def problem(self, path: bytes) -> str:
        blocks = sorted(self.bad.get(path, ()))
        if not blocks:
            return ""
        more = f", and {len(blocks) - 1} more" if len(blocks) > 1 else ""
        return f"the checksum of page {blocks[0]} is wrong{more}: the cluster is corrupt there"


def entry_of(path: bytes, found: os.stat_result, kind: Kind = Kind.FILE) -> Entry:
    """What is known of a thing before it is read."""
    mode = found.st_mode & 0o7777
    size = found.st_size if kind == Kind.FILE else 0
    return Entry(path, int(kind), mode, found.st_uid, found.st_gid, found.st_mtime_ns, size)


class FileItem:
    """A file that is held open while it is read; see engines.base.Item and Content."""

    def __init__(
        self, path: bytes, descriptor: int, proof: Proof, pool: Executor, now_ns: int, seed: int
    ) -> None:
        self.path = path
        self.descriptor = descriptor
        self.proof = proof
        self.pool = pool
        self._found = os.fstat(descriptor)
        self.size_hint = self._found.st_size
        self.block_bytes = layout.BLOCK_BYTES if layout.is_relation(path) else 0
        self.signature = self._signature(now_ns, seed)

    @property
    def content(self) -> "FileItem | None":
        return self if self.size_hint else None

    def entry(self) -> Entry:
        return entry_of(self.path, self._found)

    def _signature(self, now_ns: int, seed: int) -> bytes:
        """What stays the same as long as nobody writes to the file."""
        found = self._found
        if max(found.st_mtime_ns, found.st_ctime_ns) > now_ns - _RACY_NS:
            return b""
        stamps = (found.st_mtime_ns, found.st_ctime_ns)
        return _SIGNATURE.pack(found.st_size, *stamps, found.st_ino, seed)

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        stream = self.stream(entry)
        data = b"".join(stream)
        return stream.entry, data

    def stream(self, entry: Entry) -> "_FileStream":
        return _FileStream(self, entry)

    def window(self, offset: int, length: int) -> bytes:
        """In the pool. Raises SourceError."""
        try:
            data = os.pread(self.descriptor, length, offset)
        except OSError as error:
            raise SourceError(
                f"{self.path.decode(errors='replace')}: cannot be read: {reason(error)}",
                hint="nothing was kept, and earlier snapshots stay; look at the disk",
            ) from error
        return self.proof.look(self.path, self.descriptor, data, offset)


class _FileStream:
    """See engines.base.Stream. It ends where the file ended when it was opened."""

    def __init__(self, item: FileItem, entry: Entry) -> None:
        self._item = item
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for data in self._windows():
            size += len(data)
            if data:
                yield data
        problem = self._item.proof.problem(self._item.path)
        self.entry = replace(self.entry, size=size, problem=problem)

    def _windows(self) -> Iterator[bytes]:
        """In order. A short one ends them: the file was cut, and what follows is no part of it."""
        item, size = self._item, self._item.size_hint
        if size <= SMALL_BYTES:
            yield item.window(0, size)
            return
        waiting: deque[tuple[int, Future[bytes]]] = deque()
        try:
            for offset in range(0, size, _WINDOW_BYTES):
                length = min(_WINDOW_BYTES, size - offset)
                waiting.append((length, item.pool.submit(item.window, offset, length)))
                if len(waiting) > _WINDOWS_AHEAD and not (yield from _next(waiting)):
                    return
            while waiting and (yield from _next(waiting)):
                pass
        finally:
            for _, work in waiting:
                if not work.cancel():
                    work.exception()  # the descriptor must outlive whoever reads from it


def _next(waiting: deque[tuple[int, Future[bytes]]]) -> Generator[bytes, None, bool]:
    """Yields the next window; gives whether it was whole."""
    length, work = waiting.popleft()
    data = work.result()
    yield data
    return len(data) == length
