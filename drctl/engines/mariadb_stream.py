"""Following a server's binlog, and storing it as it comes; see engines.base.Follower.

A file is stored a window at a time. The window that is still being written is stored in parts,
every few seconds what is new; once it is complete it is stored again in one piece, and the parts
go. What is stored ends with a whole event, so a new run goes on exactly there: the server keeps
what we do not have, as long as its binlogs are not purged.
"""

from collections.abc import Callable, Iterator

from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.engines import mariadb_binlog as binlog
from drctl.engines.base import LogSink, Surroundings
from drctl.engines.log_marks import Marks
from drctl.engines.mariadb_client import Access, Settings, identity_of
from drctl.engines.mariadb_marker import Marker
from drctl.engines.mariadb_series import (
    BEGUN_ANEW,
    HEAD_BYTES,
    Binlogs,
    Series,
    files_of,
    find,
    where_it_ends,
)
from drctl.engines.mariadb_wire import Part, follow, replica_id
from drctl.errors import SourceError
from drctl.events import Notice
from drctl.logpieces import LogFile, in_order
from drctl.units import parse_duration

Ended = Callable[[], bool]
_NO_BINLOG = 1236
_LOOK_SECONDS = 2.0  # whether the server's binlogs are still those that are followed


class Follower:
    """See engines.base.Follower."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around
        self._marker = Marker(settings, asset, around)

    def follow(self, ended: Ended) -> None:
        import pymysql

        with Access(self._settings, self._around).connect(alive=True) as server:
            identity = identity_of(server)
            binlogs = Binlogs(Access(self._settings, self._around), self._asset, "a stream")
            assert self._around.open_log  # noqa: S101 - a follower is given one
            series = find(binlogs, self._around.open_log, identity)
            file, position = self._begin(files_of(server, self._asset), series)
            store = _Store(series.sink, self._around, parse_duration(self._settings.store_every))
            store.open(file, position, series.head if file == series.file else b"")
            watch = _Watch(binlogs, store, self._asset, self._around)
            try:
                parts = follow(server, file, position, replica_id(self._asset, identity))
                self._take(self._telling(parts), watch, store, ended)
            except pymysql.MySQLError as error:
                if error.args[0] == _NO_BINLOG:
                    raise self._gone(error) from error
                raise

    def _take(self, parts: Iterator[Part], watch: "_Watch", store: "_Store", ended: Ended) -> None:
        """Until it is ended, or something fails. What came in is stored in either case."""
        with Marks(self._settings.mark_every, self._asset, self._around, self._marker) as marks:
            try:
                for part in parts:
                    if ended():
                        return
                    watch.look(part)
                    store.take(part)
                    marks.keep()
            finally:
                store.settle()

    def _telling(self, parts: Iterator[Part]) -> Iterator[Part]:
        """It follows once the server has sent something: that it is alive, at least."""
        first = next(parts)
        self._around.report.emit(Notice("info", f"{self._asset}: following its log"))
        yield first
        yield from parts

    def _begin(self, files: dict[str, int], series: Series) -> tuple[str, int]:
        """Where the stored log ends; or the oldest binlog that the server still has."""
        if series.is_anew:
            self._warn(f"{BEGUN_ANEW}: take a new base with 'drctl backup {self._asset}'")
        if not series.stored:
            return next(iter(files)), 0
        wanted, size = where_it_ends(series.stored)
        if wanted in files:
            return wanted, _event_end(series.stored[wanted]) if size else 0
        later = [name for name in files if in_order(name) > in_order(wanted)]
        if not later:
            raise _begun_anew(self._asset)
        self._warn(
            f"the log has a gap: {wanted} was purged before it was stored; it goes on with "
            f"{later[0]}. No restore can cross the gap: take a new base with 'drctl backup "
            f"{self._asset}', and raise binlog_expire_logs_seconds"
        )
        return later[0], 0

    def _gone(self, error: Exception) -> SourceError:
        return SourceError(
            f"{self._asset}: the server cannot give its binlog: {error.args[1]}",
            hint="was it purged meanwhile, or is another 'drctl stream' following this server?",
        )

    def _warn(self, what: str) -> None:
        self._around.report.emit(Notice("warning", f"{self._asset}: {what}"))


def _begun_anew(asset: str) -> SourceError:
    return SourceError(
        f"{asset}: the server's binlogs were begun anew while they were followed",
        hint="they are looked at again, and kept as a log of their own",
    )


def _event_end(file: LogFile) -> int:
    """Where the last event that is stored whole ends. What is stored at once begins and ends with
    whole events, but is cut where a piece must end; a run that was killed in between left a piece
    without the rest of its last event."""
    at = file.size
    for piece in reversed(file.pieces):
        if at % LOG_PIECE_MAX_BYTES:
            break
        at = piece.offset
    return at


class _Watch:
    """A server that begins its binlogs anew does not tell those that follow it: it sends nothing
    more, until a later file has the name that comes next."""

    def __init__(self, binlogs: Binlogs, store: "_Store", asset: str, around: Surroundings) -> None:
        self._binlogs = binlogs
        self._store = store
        self._asset = asset
        self._clock = around.clock
        self._looked_at = self._clock.monotonic_seconds()

    def look(self, part: Part) -> None:
        """Before a part is stored. Raises SourceError: it is to be begun again then."""
        store = self._store
        if part.file != store.file and not store.is_closed:
            found = self._binlogs.beginning(store.file, len(store.head))
            if found != store.head:
                raise _begun_anew(self._asset)
        elif self._clock.monotonic_seconds() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = self._clock.monotonic_seconds()
            files = self._binlogs.files()
            if files.get(store.file, store.end) < store.end:
                raise _begun_anew(self._asset)


class _Store:
    """The file that is being written, and how much of it is stored."""

    def __init__(self, sink: LogSink, around: Surroundings, every_seconds: float) -> None:
        self._sink = sink
        self._clock = around.clock
        self._every_seconds = every_seconds
        self._stored_at = self._clock.monotonic_seconds()
        self.file = ""
        self.head = b""  # how the file begins
        self._begin = 0  # of the window
        self._data = bytearray()
        self._stored = 0  # bytes of the window
        self.is_closed = False

    @property
    def end(self) -> int:
        """How far the file came in."""
        return self._begin + len(self._data)

    def open(self, file: str, position: int, head: bytes = b"") -> None:
        """Go on at `position` of a file that begins with `head`. One that begins has its magic."""
        self.file, self._begin, self._stored = file, position, 0
        self._data = bytearray() if position else bytearray(binlog.MAGIC)
        self.head = head if position else binlog.MAGIC
        self.is_closed = False

    def take(self, part: Part) -> None:
        if part.file != self.file:
            if not self.is_closed:
                self._complete(whole=True)  # the server crashed: it ends without a last word
            self.open(part.file, 0)
        if part.data:
            self._add(part)
        self._settle_now_and_then()

    def _add(self, part: Part) -> None:
        event = bytearray(part.data)
        binlog.as_closed(event, part.begin)
        self._data += event
        if part.begin == len(self.head) < HEAD_BYTES:
            self.head += event
        if part.closes:
            self._complete(whole=True)
            self.is_closed = True
        elif len(self._data) >= LOG_PIECE_MAX_BYTES:
            self._complete(whole=False)

    def _complete(self, *, whole: bool) -> None:
        """The window in one go; what was stored of it in parts is not needed then."""
        self._sink.append(self.file, self._begin, self._data, whole=whole)
        if self._stored:
            self._sink.clean(self.file)
        self._begin += len(self._data)
        self._data = bytearray()
        self._stored = 0
        self._stored_at = self._clock.monotonic_seconds()

    def _settle_now_and_then(self) -> None:
        if self._clock.monotonic_seconds() - self._stored_at >= self._every_seconds:
            self.settle()

    def settle(self) -> None:
        """What came in is stored."""
        if self._stored < len(self._data):
            new = memoryview(bytes(self._data))[self._stored :]
            self._sink.append(self.file, self._begin + self._stored, new)
            self._stored = len(self._data)
        self._stored_at = self._clock.monotonic_seconds()
