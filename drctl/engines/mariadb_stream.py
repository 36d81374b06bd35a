"""Following a server's binlog, and storing it as it comes; see engines.base.Follower.

A file is stored a window at a time. The window that is still being written is stored in parts,
every few seconds what is new; once it is complete it is stored again in one piece, and the parts
go. What is stored ends with a whole event, so a new run goes on exactly there: the server keeps
what we do not have, as long as its binlogs are not purged.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.engines import mariadb_binlog as binlog
from drctl.engines.base import LogSink, Surroundings
from drctl.engines.mariadb_client import Access, Settings, ask, identity_of
from drctl.engines.mariadb_marker import Marker
from drctl.engines.mariadb_wire import Part, follow, replica_id
from drctl.errors import DrctlError, SourceError
from drctl.events import Notice
from drctl.logpieces import LogFile, by_file
from drctl.units import parse_duration

if TYPE_CHECKING:
    from pymysql.connections import Connection

Ended = Callable[[], bool]
_NO_BINLOG = 1236


class Follower:
    """See engines.base.Follower."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around
        self._marker = Marker(settings, asset, around)
        self._marked_at = float("-inf")

    def follow(self, ended: Ended) -> None:
        import pymysql

        with Access(self._settings, self._around).connect(alive=True) as server:
            identity = identity_of(server)
            assert self._around.open_log  # noqa: S101 - a follower is given one
            sink = self._around.open_log(identity)
            file, position = self._begin(_files(server, self._asset), sink)
            store = _Store(sink, self._around, parse_duration(self._settings.store_every))
            store.open(file, position)
            try:
                parts = follow(server, file, position, replica_id(self._asset, identity))
                for part in self._telling(parts):
                    if ended():
                        return
                    store.take(part)
                    self._mark()
            except pymysql.MySQLError as error:
                if error.args[0] == _NO_BINLOG:
                    raise self._gone(error) from error
                raise
            finally:
                store.settle()

    def _telling(self, parts: Iterator[Part]) -> Iterator[Part]:
        """It follows once the server has sent something: that it is alive, at least."""
        first = next(parts)
        self._around.report.emit(Notice("info", f"{self._asset}: following its log"))
        yield first
        yield from parts

    def _mark(self) -> None:
        """That the marker cannot be written must not end the stream."""
        now = self._around.clock.monotonic_seconds()
        if now - self._marked_at < parse_duration(self._settings.mark_every):
            return
        self._marked_at = now
        try:
            self._marker.write(self._around.clock.now_ns())
        except DrctlError as error:
            self._marked_at = float("inf")  # told once a connection
            self._warn(f"the marker was not written: {error.what}")

    def _begin(self, files: dict[str, int], sink: LogSink) -> tuple[str, int]:
        """Where the stored log ends; or the oldest binlog that the server still has."""
        stored = by_file(sink.pieces())
        if not stored:
            return next(iter(files)), 0
        newest = stored[max(stored)]
        wanted = binlog.next_name(newest.file) if newest.whole else newest.file
        position = 0 if newest.whole else _event_end(newest)
        if wanted in files:
            if position > files[wanted]:
                raise self._anew(wanted)
            return wanted, position
        later = [name for name in files if name > wanted]
        if not later:
            raise self._anew(wanted)
        self._warn(
            f"the log has a gap: {wanted} was purged before it was stored; it goes on with "
            f"{later[0]}. No restore can cross the gap: take a new base with 'drctl backup "
            f"{self._asset}', and raise binlog_expire_logs_seconds"
        )
        return later[0], 0

    def _anew(self, wanted: str) -> SourceError:
        return SourceError(
            f"{self._asset}: the server's binlogs do not continue what is stored: {wanted} is not "
            "as it was",
            hint="they were begun anew (RESET MASTER, or a restored server): give the asset a new "
            "name in the plan, and take a new base",
        )

    def _gone(self, error: Exception) -> SourceError:
        return SourceError(
            f"{self._asset}: the server cannot give its binlog: {error.args[1]}",
            hint="was it purged meanwhile, or is another 'drctl stream' following this server?",
        )

    def _warn(self, what: str) -> None:
        self._around.report.emit(Notice("warning", f"{self._asset}: {what}"))


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


def _files(server: "Connection[Any]", asset: str) -> dict[str, int]:
    """The server's binlogs, oldest first, with their sizes."""
    if not int(ask(server, "select @@log_bin")[0][0]):
        raise SourceError(
            f"{asset}: log_bin is off: there is no binlog to be stored",
            hint="set log_bin and restart the server, or leave out 'stream'",
        )
    return {str(row[0]): int(row[1]) for row in ask(server, "show binary logs")}


class _Store:
    """The file that is being written, and how much of it is stored."""

    def __init__(self, sink: LogSink, around: Surroundings, every_seconds: float) -> None:
        self._sink = sink
        self._clock = around.clock
        self._every_seconds = every_seconds
        self._stored_at = self._clock.monotonic_seconds()
        self._file = ""
        self._begin = 0  # of the window
        self._data = bytearray()
        self._stored = 0  # bytes of the window
        self._is_closed = False

    def open(self, file: str, position: int) -> None:
        """Go on at `position` of a file. One that begins has its magic."""
        self._file, self._begin, self._stored = file, position, 0
        self._data = bytearray() if position else bytearray(binlog.MAGIC)
        self._is_closed = False

    def take(self, part: Part) -> None:
        if part.file != self._file:
            if not self._is_closed:
                self._complete(whole=True)  # the server crashed: it ends without a last word
            self.open(part.file, 0)
        if part.data:
            self._add(part)
        self._settle_now_and_then()

    def _add(self, part: Part) -> None:
        event = bytearray(part.data)
        binlog.as_closed(event, part.begin)
        self._data += event
        if part.closes:
            self._complete(whole=True)
            self._is_closed = True
        elif len(self._data) >= LOG_PIECE_MAX_BYTES:
            self._complete(whole=False)

    def _complete(self, *, whole: bool) -> None:
        """The window in one go; what was stored of it in parts is not needed then."""
        self._sink.append(self._file, self._begin, self._data, whole=whole)
        if self._stored:
            self._sink.clean(self._file)
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
            self._sink.append(self._file, self._begin + self._stored, new)
            self._stored = len(self._data)
        self._stored_at = self._clock.monotonic_seconds()
