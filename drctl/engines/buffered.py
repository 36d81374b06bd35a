"""Between a database that waits for its reader and a storage that may be slow: pieces in order, in
memory, and on the disk where the database must not wait."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from drctl.engines.tree_look import reason
from drctl.engines.xbstream import Part
from drctl.errors import SourceError

_MOST_BYTES = 32 << 20  # in memory


class Kept(NamedTuple):
    """Where a piece lies in the file of those that did not fit into memory."""

    offset: int
    length: int


class Buffered:
    """A thread of its own takes in the parts of a stream, and whoever iterates gets them. The
    thread waits while there is too much, until `hurry`: from then on it never does."""

    def __init__(self, given: Iterable[Part], scratch: str) -> None:
        self._given = given
        self._scratch = scratch
        self._ready: deque[tuple[Part, Kept | None]] = deque()
        self._held_bytes = 0
        self._is_urgent = self._is_over = self._is_left = False
        self._file: IO[bytes] | None = None
        self._file_bytes = 0
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(1, "drctl-pipe")
        self._work: Future[None] | None = None

    def start(self) -> None:
        self._work = self._pool.submit(self._take_in)

    def hurry(self) -> None:
        """The database holds something back until all was read."""
        with self._changed:
            self._is_urgent = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody reads on. What is still given must end by itself after this."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()

    def join(self) -> None:
        """The thread has ended; then so may the file."""
        self._pool.shutdown()
        if self._file:
            self._file.close()

    def _take_in(self) -> None:
        try:
            for part in self._given:
                if not self._put(part):
                    break
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _put(self, part: Part) -> bool:
        """False: nobody reads on."""
        with self._changed:
            while self._is_full and not (self._is_urgent or self._is_left):
                self._changed.wait()
            if self._is_full and part.data and not self._is_left:
                self._ready.append((part._replace(data=None), self._keep(part.data)))
            else:
                self._held_bytes += len(part.data or b"")
                self._ready.append((part, None))
            self._changed.notify_all()
            return not self._is_left

    @property
    def _is_full(self) -> bool:
        return self._held_bytes > _MOST_BYTES

    def _keep(self, data: memoryview) -> Kept:
        """Raises SourceError."""
        try:
            self._file = self._file or TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            self._file.seek(self._file_bytes)
            place = Kept(self._file_bytes, len(data))
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise SourceError(
                f"{self._scratch}: {reason(error)}: the storage is slower than the database, which "
                "must not wait for it",
                hint="make room there, or point DRCTL_STATE_DIR to a larger disk",
            ) from error
        self._file_bytes += place.length
        return place

    def __iter__(self) -> Iterator[Part]:
        """Raises what reading them raised, after those that came before."""
        while part := self._next():
            yield part

    def _next(self) -> Part | None:
        with self._changed:
            while not self._ready and not self._is_over:
                self._changed.wait()
            if not self._ready:
                self._end()
                return None
            part, kept = self._ready.popleft()
            self._held_bytes -= len(part.data or b"")
            self._changed.notify_all()
            return part._replace(data=self._fetch(kept)) if kept else part

    def _end(self) -> None:
        """Raises what ended it."""
        if self._work:
            self._work.result()

    def _fetch(self, place: Kept) -> memoryview:
        assert self._file  # noqa: S101 - the piece is in it
        self._file.seek(place.offset)
        parts = []
        left = place.length
        while left and (part := self._file.read(left)):
            parts.append(part)
            left -= len(part)
        return memoryview(b"".join(parts))
