"""Whether a base is of the history that the stored log tells.

A server that was set back, as by a snapshot of its machine, goes another way from there on the
same timeline, and so may two restored ones: names and positions are alike then, and PostgreSQL may
replay the one's log over the other's base without a complaint. A base brings the WAL from its start
to its end, which nobody else wrote: where another content is stored of that, it is another history.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.engines import postgres_layout as layout
from drctl.engines.base import Log, LogSink
from drctl.engines.postgres_wal import number_of
from drctl.errors import IntegrityError, NotFound
from drctl.logpieces import LogFile, LogPiece, by_file
from drctl.units import show_bytes

_AT_EITHER_END = 4  # pieces of a segment that are looked at: there may be thousands
_TRIES = 3

Own = Callable[[str, int, int], bytes]  # of the base's WAL: file, offset, size; shorter: not there


class Reach:
    """Up to which position the base's own WAL is known: behind it a standby may have what it has
    not got yet."""

    def __init__(self, most: int, segment_bytes: int) -> None:
        self._most = most
        self._each = segment_bytes

    def sample(self, file: LogFile | None) -> list[LogPiece]:
        """What is looked at of a segment: where two ways part, all that follows differs."""
        pieces = file.pieces if file else ()
        known = [piece for piece in pieces if piece.size and self._knows(piece)]
        return list(dict.fromkeys((*known[:_AT_EITHER_END], *known[-_AT_EITHER_END:])))

    def _knows(self, piece: LogPiece) -> bool:
        return number_of(piece.file, self._each) * self._each + piece.end <= self._most


def stored_apart(log: LogSink, segments: Sequence[str], reach: Reach, own: Own) -> str:
    """What speaks against a log: that another content is stored of a base's first segment, or of
    its last one; empty: nothing. Raises StorageError."""
    ends = dict.fromkeys((*segments[:1], *segments[-1:]))
    file = next((file for file in ends if _is_apart(log, file, reach, own)), "")
    what = f"of {file} another content is stored than this server wrote"
    return f"{what}, as of the server before it was set back" if file else ""


def _is_apart(log: LogSink, file: str, reach: Reach, own: Own) -> bool:
    for _ in range(_TRIES):
        try:
            sample = reach.sample(by_file(log.pieces(file)).get(file))
            return any(_differs(log, piece, own) for piece in sample)
        except NotFound:
            continue  # parts go once a whole piece covers them
    return False


def _differs(log: LogSink, piece: LogPiece, own: Own) -> bool:
    """What is damaged tells nothing."""
    data = own(piece.file, piece.offset, piece.size)
    try:
        return len(data) == piece.size and log.differs(piece, data)
    except IntegrityError:
        return False


def sized_apart(pieces: Iterable[LogPiece], segment_bytes: int) -> str:
    """What speaks against a log whose segments have another size, as before 'pg_resetwal
    --wal-segsize': their names count anew. Empty: nothing."""
    whole = (p for p in pieces if p.whole and layout.SEGMENT.fullmatch(p.file))
    sound = (p for p in whole if p.end.bit_count() == 1)  # what was cut tells nothing
    newest = max(sound, key=lambda piece: piece.file, default=None)
    if newest is None or newest.end == segment_bytes:
        return ""
    was, now = show_bytes(newest.end), show_bytes(segment_bytes)
    return f"its segments, as {newest.file}, have {was}, and the server's {now}"


def read_apart(log: Log, files: Iterable[LogFile], reach: Reach, own: Own) -> str:
    """The same of a base that is put back: the segment; empty: none of these."""
    return next((f.file for f in files if any(_read_differing(log, f, reach, own))), "")


def _read_differing(log: Log, file: LogFile, reach: Reach, own: Own) -> Iterator[bool]:
    for piece in reach.sample(file):
        data = own(piece.file, piece.offset, piece.size)
        try:
            yield len(data) == piece.size and log.read(piece) != data
        except IntegrityError:
            continue  # it is damaged, or it went: another one tells


class Held:
    """Of a base's WAL that comes once, in order: the begin of the first segment, and what came of
    the last one, or of a large one its end."""

    def __init__(self) -> None:
        self._first = self._last = _Window()

    def take(self, file: str, offset: int, data: bytes) -> None:
        if not layout.SEGMENT.fullmatch(file):
            return
        if (file, offset - offset % LOG_PIECE_MAX_BYTES) != (self._last.file, self._last.begin):
            self._last = _Window(file, offset)
            self._first = self._first if self._first.file else self._last
        self._last.data += data

    def get(self, file: str, offset: int, size: int) -> bytes:
        for window in (self._first, self._last):
            at = offset - window.begin
            if window.file == file and 0 <= at < len(window.data):
                return bytes(memoryview(window.data)[at : at + size])
        return b""


class _Window:
    """As much of a segment as one piece may hold."""

    def __init__(self, file: str = "", begin: int = 0) -> None:
        self.file = file
        self.begin = begin
        self.data = bytearray()
