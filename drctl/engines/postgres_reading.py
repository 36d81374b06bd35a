"""How the files of a running cluster are read: as they are, or by the process that proves pages.

Small files of relations are proven several at a time: each alone would cost a turn of that process,
and every database has three hundred of them.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from msgspec import Struct

from drctl.engines import postgres_layout as layout
from drctl.engines.postgres_proof import Buffer, PageReader, Window
from drctl.engines.postgres_prover import PLACE_BYTES, WINDOWS_MOST

NEAR_MOST = WINDOWS_MOST  # files that are open at once, to be read together
_NEAR_BYTES = PLACE_BYTES // WINDOWS_MOST  # larger ones are read by themselves

Take = Callable[[], Buffer]


class Opened(Struct, frozen=True):
    """A file that is open. `size` in bytes, as it was then."""

    path: bytes
    descriptor: int
    size: int


class Reading(Protocol):
    """A way to read."""

    def ask(self, file: Opened, offset: int, length: int) -> Take:
        """For at most PLACE_BYTES. They are taken in the order in which they were asked for, and
        are shorter where the file ends. Both raise OSError, SourceError."""
        ...

    def problem(self, path: bytes) -> str:
        """What was found wrong with a file that was read."""
        ...

    def expect(self, files: Sequence[Opened]) -> None:
        """These are open, at most NEAR_MOST, and follow each other. Not all need be read: what did
        not change is not."""
        ...


class AsItIs:
    """Read ahead by a pool, nothing proven."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool

    def ask(self, file: Opened, offset: int, length: int) -> Take:
        return self._pool.submit(os.pread, file.descriptor, length, offset).result

    def problem(self, _path: bytes) -> str:
        return ""

    def expect(self, _files: Sequence[Opened]) -> None: ...


class Proven:
    """Relation files. A page that is wrong and was written since the LSN `started` is written anew
    by replay; `written` asks the server how far its log has come. Both raise SourceError."""

    def __init__(
        self, reader: PageReader, page_bytes: int, started: int, written: Callable[[], int]
    ) -> None:
        self._reader = reader
        self._page_bytes = page_bytes
        self._started = started
        self._written = written
        self._found: list[tuple[bytes, int, int]] = []  # path, block, LSN: not judged yet
        self._bad: dict[bytes, list[int]] = {}  # path -> blocks
        self._near: list[Opened] = []  # in order
        self._read: dict[bytes, Buffer] = {}
        self._together = 1

    @property
    def bad_pages(self) -> int:
        self._judge()
        return sum(map(len, self._bad.values()))

    def problem(self, path: bytes) -> str:
        self._judge()
        blocks = sorted(self._bad.get(path, ()))
        if not blocks:
            return ""
        more = f", and {len(blocks) - 1} more" if len(blocks) > 1 else ""
        return f"the checksum of page {blocks[0]} is wrong{more}: the cluster is corrupt there"

    def _judge(self) -> None:
        """A page that claims an LSN to which the server has not come, now that it is read, was not
        written by it: garbage claims any."""
        since = any(lsn >= self._started for *_, lsn in self._found)
        reached = self._written() if since else 0
        for path, block, lsn in self._found:
            if not self._started <= lsn <= reached:
                self._bad.setdefault(path, []).append(block)
        self._found.clear()

    def ask(self, file: Opened, offset: int, length: int) -> Take:
        if file in self._near:
            return lambda: self._take_near(file)
        self._ask([file], offset, length)
        return lambda: self._taken([file], offset)[0]

    def _ask(self, files: Sequence[Opened], offset: int, length: int = 0) -> None:
        windows = [
            Window(
                file.descriptor,
                offset,
                length or file.size,
                layout.first_block(file.path) + offset // self._page_bytes,
            )
            for file in files
        ]
        self._reader.ask(windows, self._page_bytes)

    def _taken(self, files: Sequence[Opened], offset: int) -> list[Buffer]:
        found = self._reader.take()
        for file, (_, wrong) in zip(files, found, strict=True):
            first = layout.first_block(file.path) + offset // self._page_bytes
            self._found += [(file.path, first + place, lsn) for place, lsn in wrong]
        return [data for data, _ in found]

    # -- small files together -----------------------------------------------------------------

    def expect(self, files: Sequence[Opened]) -> None:
        self._forget()
        self._near = [file for file in files if 0 < file.size <= _NEAR_BYTES]

    def _take_near(self, file: Opened) -> Buffer:
        """With some that come after it: twice as many as before, if all those were needed."""
        if file.path not in self._read:
            self._forget()
            self._together = min(2 * self._together, WINDOWS_MOST)
            at = self._near.index(file)
            lot = self._near[at : at + self._together]
            self._ask(lot, 0)
            found = self._taken(lot, 0)
            self._read = {near.path: data for near, data in zip(lot, found, strict=True)}
        return self._read.pop(file.path)

    def _forget(self) -> None:
        """What was read in vain."""
        if self._read:
            self._together = 1
            self._read.clear()
