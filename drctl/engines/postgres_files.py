"""The files of a running cluster as items, read in place.

A file that shrinks or vanishes meanwhile is no trouble: replaying the WAL of the backup makes it
what it must be.
"""

import os
import struct
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress

from msgspec.structs import replace

from drctl.engines import postgres_layout as layout
from drctl.engines.postgres_proof import ASKED_MOST, Buffer
from drctl.engines.postgres_prover import PLACE_BYTES
from drctl.engines.postgres_reading import Opened, Reading, Take
from drctl.engines.tree_look import reason
from drctl.errors import SourceError
from drctl.model import Entry, Kind

_RACY_NS = 2 * 10**9  # a file changed so short before it was read may change unseen after it
_SIGNATURE = struct.Struct("<qqqqQ")


def entry_of(path: bytes, found: os.stat_result, kind: Kind = Kind.FILE) -> Entry:
    """What is known of a thing before it is read."""
    mode = found.st_mode & 0o7777
    size = found.st_size if kind == Kind.FILE else 0
    return Entry(path, int(kind), mode, found.st_uid, found.st_gid, found.st_mtime_ns, size)


class FileItem:
    """A file that is held open while it is read; see engines.base.Item and Content."""

    def __init__(
        self, path: bytes, descriptor: int, reading: Reading, now_ns: int, seed: int
    ) -> None:
        self.path = path
        self.reading = reading
        self._found = os.fstat(descriptor)
        self.size_hint = self._found.st_size
        self.opened = Opened(path, descriptor, self.size_hint)
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

    def ask(self, offset: int, length: int) -> Take:
        """What is taken is shorter where the file ends. Both raise SourceError."""
        take = self.reading.ask(self.opened, offset, length)

        def taken() -> Buffer:
            try:
                return take()
            except OSError as error:
                raise SourceError(
                    f"{self.path.decode(errors='replace')}: cannot be read: {reason(error)}",
                    hint="nothing was kept, and earlier snapshots stay; look at the disk",
                ) from error

        return taken


class _FileStream:
    """See engines.base.Stream. It ends where the file ended when it was opened."""

    def __init__(self, item: FileItem, entry: Entry) -> None:
        self._item = item
        self.entry = entry

    def __iter__(self) -> Iterator[Buffer]:
        size = 0
        for data in self._windows():
            size += len(data)
            if data:
                yield data
        problem = self._item.reading.problem(self._item.path)
        self.entry = replace(self.entry, size=size, problem=problem)

    def _windows(self) -> Iterator[Buffer]:
        """In order. A short one ends them: the file was cut, and what follows is no part of it."""
        waiting: deque[tuple[int, Take]] = deque()
        try:
            for length, take in self._asked():
                waiting.append((length, take))
                if len(waiting) == ASKED_MOST and not (yield from _next(waiting)):
                    return
            while waiting and (yield from _next(waiting)):
                pass
        finally:
            for _, take in waiting:
                with suppress(SourceError):
                    take()  # the descriptor must outlive whoever reads from it

    def _asked(self) -> Iterator[tuple[int, Take]]:
        item, size = self._item, self._item.size_hint
        for offset in range(0, size, PLACE_BYTES):
            length = min(PLACE_BYTES, size - offset)
            yield length, item.ask(offset, length)


def _next(waiting: deque[tuple[int, Take]]) -> Generator[Buffer, None, bool]:
    """Yields the next window; gives whether it was whole."""
    length, take = waiting.popleft()
    data = take()
    yield data
    return len(data) == length
