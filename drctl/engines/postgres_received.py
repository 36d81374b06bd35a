"""WAL as it comes in, and as it is stored: a window (16 MiB at most) of a segment at a time.

The window that is still being written is stored in parts, what is new of it; once it is complete it
is stored again in one piece, and the parts go.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.engines.base import LogSink
from drctl.engines.postgres_client import Cluster, show_lsn
from drctl.errors import IntegrityError, NotFound, SourceError
from drctl.logpieces import LogPiece, by_file

_COMPARERS = 8
_LEFT_MOST = 8
_AT_ONCE = 64  # pieces are compared before the server hears of us


class _Window:
    """What is stored as one piece in the end. `begin` is its position in the log."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.end = end
        self.data = bytearray()
        self.stored = 0  # of these bytes
        self.known: set[tuple[int, int]] = set()  # offset and size of pieces that hold the same

    @property
    def at(self) -> int:
        return self.begin + len(self.data)


class Received:
    """What came of one server's log. `flushed`: up to where it is stored; `stored_at`: when a part
    was stored the last time.

    What another attempt stored of a window must be the same as what comes now: else two servers
    write one timeline, or one was set back to an earlier state, and neither may add to what the
    other stored. So nothing is added before it is compared. It may be thousands of pieces: `alive`
    is called meanwhile, for a server ends a connection of which it hears nothing.
    """

    def __init__(
        self, asset: str, cluster: Cluster, log: LogSink, alive: Callable[[], object] = bool
    ) -> None:
        self._asset = asset
        self._alive = alive
        self._cluster = cluster
        self._log = log
        self._timeline = cluster.timeline
        self._window = _Window(0, 0)
        self._before: list[LogPiece] = []  # stored by another attempt, not compared yet
        self._covered: list[str] = []  # files that have parts which nobody needs
        self._cleaner = ThreadPoolExecutor(1, "drctl-parts")
        self._cleaning: deque[Future[int]] = deque()
        self.flushed = 0
        self.stored_at = 0.0

    def __enter__(self) -> "Received":
        return self

    def __exit__(self, *_: object) -> None:
        self._cleaner.shutdown()

    @property
    def at(self) -> int:
        """Up to where it came."""
        return self._window.at

    @property
    def has_new(self) -> bool:
        """Whether something came that is not stored."""
        return self._window.stored < len(self._window.data)

    def open(self, timeline: int, at: int) -> None:
        """What comes next is of this timeline, from here on."""
        self._timeline = timeline
        step = min(self._cluster.segment_bytes, LOG_PIECE_MAX_BYTES)
        self._window = _Window(at, at - at % step + step)
        self._before = []
        self.flushed = at

    def resume(self, timeline: int, at: int) -> None:
        """The same, where something may be stored of it already. Raises StorageError."""
        self.open(timeline, at)
        self._before = self._inside()

    def take(self, begin: int, data: memoryview) -> bool:
        """Into the window, and into the next ones where it reaches beyond. Whether one was stored
        whole: then `tidy` is to be called. Raises SourceError, StorageError."""
        was_whole = False
        while data:
            window = self._window
            if begin != window.at:
                raise SourceError(
                    f"{self._asset}: WAL came from {show_lsn(begin)}, due was {show_lsn(window.at)}"
                )
            part = data[: window.end - window.at]
            window.data += part
            begin += len(part)
            data = data[len(part) :]
            if window.at == window.end:
                self._store_whole()
                self.open(self._timeline, window.end)
                was_whole = True
        return was_whole

    def _place(self) -> tuple[str, int]:
        """The window's file and its offset there."""
        begin = self._window.begin
        name = self._cluster.segment(begin, self._timeline)
        return name, begin % self._cluster.segment_bytes

    def _inside(self) -> list[LogPiece]:
        """What others stored of the window, in the order in which it will have come."""
        file, offset = self._place()
        most = offset + self._window.end - self._window.begin
        found = [p for p in self._log.pieces(file) if offset <= p.offset and p.end <= most]
        new = [p for p in found if (p.offset, p.size) not in self._window.known]
        return sorted(new, key=lambda piece: piece.end)

    def _compare(self) -> None:
        """What came with what is stored of it, which need not be stored again."""
        window, (file, offset) = self._window, self._place()
        while due := self._due(offset + len(window.data)):
            with ThreadPoolExecutor(_COMPARERS, "drctl-compare") as pool:
                found = list(pool.map(partial(self._differs, offset), due))
            if True in found:
                raise diverged(self._asset, file)
            same = [p for p, differs in zip(due, found, strict=True) if differs is False]
            for piece in same:
                window.known.add((piece.offset, piece.size))
                if piece.offset - offset <= window.stored:
                    window.stored = max(window.stored, piece.end - offset)
            del self._before[: len(due)]
            self._alive()

    def _due(self, end: int) -> list[LogPiece]:
        """The next ones to compare, all of which came."""
        return [piece for piece in self._before[:_AT_ONCE] if piece.end <= end]

    def _differs(self, offset: int, piece: LogPiece) -> bool | None:
        """None: it cannot be told. A whole one, stored meanwhile, may have taken its place; what is
        damaged comes anew."""
        data = memoryview(self._window.data)[piece.offset - offset : piece.end - offset]
        with suppress(NotFound, IntegrityError):
            return self._log.differs(piece, data)
        return None

    def store(self) -> None:
        """What is new in the window."""
        window = self._window
        self._compare()
        if self.has_new and not self._before:
            file, offset = self._place()
            new = bytes(memoryview(window.data)[window.stored :])
            self._log.append(file, offset + window.stored, new)
            window.known.add((offset + window.stored, len(new)))
            window.stored = len(window.data)
        self.flushed = max(self.flushed, window.begin + window.stored)
        self.stored_at = time.monotonic()

    def _store_whole(self) -> None:
        """All of the window in one piece, if nobody stored anything else of it meanwhile."""
        window = self._window
        file, offset = self._place()
        self._before = self._inside()
        self._compare()
        data = bytes(window.data)
        whole = window.end % self._cluster.segment_bytes == 0
        self._log.append(file, offset, data, whole=whole)
        self._covered.append(file)

    def find_left(self, pieces: Sequence[LogPiece]) -> None:
        """Files that are stored whole and have parts beside it: another attempt was killed before
        it had deleted them. The newest ones: a storage that lets nobody delete has some of each."""
        kept, there = by_file(pieces), Counter(piece.file for piece in pieces)
        left = [n for n, file in kept.items() if file.whole and there[n] > len(file.pieces)]
        self._covered += sorted(left)[-_LEFT_MOST:]

    def tidy(self) -> None:
        """Delete the parts of what was stored whole. There may be thousands, so it is done beside:
        neither the server nor a commit waits for it. Raises what an earlier one met."""
        while self._cleaning and self._cleaning[0].done():
            self._cleaning.popleft().result()
        while self._covered:
            self._cleaning.append(self._cleaner.submit(self._log.clean, self._covered.pop()))


def store_history(log: LogSink, name: str, text: bytes, first: str) -> None:
    """A timeline's history, and before it an empty part of the segment `first`, in which it begins.
    By that the names alone tell where an older timeline was left: what its server wrote behind that
    would hide a gap at the begin of the new one."""
    log.append(first, 0, b"")
    log.append(name, 0, text, whole=True)


def diverged(asset: str, file: str) -> SourceError:
    """What is stored under that name is another server's."""
    return SourceError(
        f"{asset}: {file} is in the repository with another content",
        hint="two servers write the log of this asset: a restored copy of it, or a second "
        "archiver; end that one, or give it an asset of its own",
    )
