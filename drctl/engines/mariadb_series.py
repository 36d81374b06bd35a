"""Binlogs that were begun anew: RESET MASTER, a server restored in place, or another one with the
same id. Their names say nothing then: `binlog.000001` is another file than the one that is stored.

Each series of binlogs is a log of its own in the repository. Which one a server's belong to is told
by content: the newest file that is both here and stored begins with the same bytes, or what is here
begins a new series. A base keeps a digest of the beginning of the file that it stands in, so that a
restore never goes from a base into another series.
"""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drctl.engines import mariadb_binlog as binlog
from drctl.engines.base import Buffer, LogSink, Surroundings
from drctl.engines.mariadb_client import Access, ask
from drctl.engines.mariadb_looked import Looked
from drctl.engines.mariadb_wire import follow, replica_id
from drctl.errors import NotFound, SourceError
from drctl.events import Notice
from drctl.logpieces import LogFile, by_file, in_order

if TYPE_CHECKING:
    from pymysql.connections import Connection

HEAD_BYTES = 64 * 1024  # the first transactions, with their instants and their content
BEGUN_ANEW = (
    "the server's binlogs do not continue what is stored: they were begun anew (RESET MASTER, or a "
    "restored server). They are kept as a log of their own, and no restore goes from the one into "
    "the other"
)
_TRIES = 3

OpenLog = Callable[[str], LogSink]


def head_of(data: Buffer, position: int) -> str:
    """What tells the file in which a base stands at `position` from all others of its name."""
    return sha256(memoryview(data)[: min(position, HEAD_BYTES)]).hexdigest()


def files_of(server: "Connection[Any]", asset: str) -> dict[str, int]:
    """The server's binlogs, oldest first, with their sizes. Raises SourceError."""
    if not int(ask(server, "select @@log_bin")[0][0]):
        raise SourceError(
            f"{asset}: log_bin is off: there is no binlog to be stored",
            hint="set log_bin and restart the server, or leave out 'stream'",
        )
    return {str(row[0]): int(row[1]) for row in ask(server, "show binary logs")}


@contextmanager
def mapped(path: str) -> Iterator[memoryview]:
    """A file, of which only what is looked at is read."""
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data,
        memoryview(data) as view,
    ):
        yield view


class Binlogs:
    """The binlogs of a server, as they can be looked at while others follow it."""

    def __init__(self, access: Access, asset: str, looker: str) -> None:
        self._access = access
        self._asset = asset
        self._looker = looker  # the server ends one of two that look under one name, and waits
        self._looks = 0

    def files(self) -> dict[str, int]:
        """Raises SourceError."""
        with self._access.connect() as server:
            return files_of(server, self._asset)

    def beginning(self, file: str, size: int) -> bytes:
        """The first `size` bytes of a file, as they are stored; fewer where it is shorter. Raises
        SourceError."""
        found = bytearray(binlog.MAGIC)
        self._looks += 1
        replica = replica_id(self._asset, f"{self._looker} {self._looks}")
        with self._access.connect(alive=True) as server:
            for part in follow(server, file, 0, replica):
                if part.file != file or not part.data:
                    break
                found += part.data
                if part.closes or len(found) >= size:
                    break
        binlog.as_closed(found, 0)
        return bytes(found[:size])


class Series(Struct, frozen=True):
    """The stored log that the server's binlogs belong to. `file` is there and here, and begins with
    `head`; both are empty where nothing is stored yet."""

    sink: LogSink
    stored: dict[str, LogFile]
    file: str = ""
    head: bytes = b""
    is_anew: bool = False  # what was stored before is of another series
    following: str = ""  # the stream of the series that comes after it, if one ever does


def find(binlogs: Binlogs, open_log: OpenLog, identity: str) -> Series:
    """The newest series that is stored, or the one that comes after it. Raises SourceError,
    StorageError."""
    sink, stored, number = _newest(open_log, identity)
    after = open_log(_name(identity, number + 1))
    if not stored:
        return Series(sink, stored, following=after.stream)
    files = binlogs.files()
    if _is_ahead(stored, files):
        both = (name for name in stored if name in files and stored[name].size)
        common = max(both, key=in_order, default="")
        if not common:
            return Series(sink, stored, following=after.stream)
        if (head := _same(binlogs, sink, common)) is not None:
            return Series(sink, stored, common, head, following=after.stream)
    following = open_log(_name(identity, number + 2)).stream
    return Series(after, {}, is_anew=True, following=following)


def _newest(open_log: OpenLog, identity: str) -> tuple[LogSink, dict[str, LogFile], int]:
    """The newest series of which anything is stored; or the first one."""
    number, sink = 0, open_log(identity)
    stored = by_file(sink.pieces())
    while stored:
        later = open_log(_name(identity, number + 1))
        found = by_file(later.pieces())
        if not found:
            break
        number, sink, stored = number + 1, later, found
    return sink, stored, number


def _name(identity: str, number: int) -> str:
    return f"{identity} begun anew {number}" if number else identity


def _is_ahead(stored: dict[str, LogFile], files: dict[str, int]) -> bool:
    """Whether the server has, by names and sizes, what comes after all that is stored."""
    name, position = where_it_ends(stored)
    return position <= files[name] if name in files else is_more(files, name)


def is_more(files: Iterable[str], name: str) -> bool:
    """Whether there are files behind that one."""
    return any(in_order(other) > in_order(name) for other in files)


def where_it_ends(stored: dict[str, LogFile]) -> tuple[str, int]:
    """The file that comes next, and how much of it is stored."""
    newest = stored[max(stored, key=in_order)]
    return (binlog.next_name(newest.file), 0) if newest.whole else (newest.file, newest.size)


def _same(binlogs: Binlogs, sink: LogSink, file: str) -> bytes | None:
    """The beginning of a file where it is what is stored under its name. Its parts go while they
    are looked at, when a whole piece covers them."""
    for attempt in range(_TRIES):
        piece = by_file(sink.pieces(file))[file].pieces[0]
        found = binlogs.beginning(file, piece.size)
        try:
            differs = len(found) < piece.size or sink.differs(piece, found)
        except NotFound:
            if attempt == _TRIES - 1:
                raise
            continue
        return None if differs else found[:HEAD_BYTES]
    return None


class LogBehind:
    """The stored log by which a base is to be continued. So that base and log are of one series,
    the server's newest file is looked at before the copy and after it. A base without a log is
    better than none; one with another's log is worse."""

    def __init__(self, access: Access, asset: str, around: Surroundings, looked: Looked) -> None:
        self._binlogs = Binlogs(access, asset, f"a backup {os.getpid()}")
        self._asset = asset
        self._report = around.report
        self._stream = self._newest = self._following = ""
        self._begin = b""
        if around.open_log and looked.has_binlog:
            try:
                self._look(around.open_log, looked.identity)
            except SourceError as error:
                self._warn_of_none(error.what)

    def _look(self, open_log: OpenLog, identity: str) -> None:
        series = find(self._binlogs, open_log, identity)
        files = self._binlogs.files()
        newest = max(files, key=in_order)
        # Asked for more than there is, the server would wait for it.
        self._begin = self._binlogs.beginning(newest, min(files[newest], HEAD_BYTES))
        self._newest, self._stream = newest, series.sink.stream
        self._following = series.following
        if series.is_anew:
            what = f"{self._asset}: {BEGUN_ANEW}; this snapshot is the first base of the new one"
            self._report.emit(Notice("warning", what))

    def of(self, position: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """Facts and private facts, where the copy stands at `position`: where a restore goes on,
        the first file that this needs, and the log that it never goes on to. Empty where no log
        continues it."""
        if not self._stream or not position:
            return {}, {}
        file, at = position["file"], int(position["position"])
        try:
            head = self._head(file, at)
        except SourceError as error:
            self._warn_of_none(error.what)
            return {}, {}
        public = {"log_stream": self._stream, "log_first": file, "log_after": self._following}
        return public, {"binlog_head": head}

    def _head(self, file: str, position: int) -> str:
        needed = min(position, HEAD_BYTES)
        found = self._binlogs.beginning(file, needed)
        now = self._binlogs.beginning(self._newest, len(self._begin))
        if len(found) < needed or now != self._begin:
            raise SourceError("the binlogs were begun anew while it was copied")
        return head_of(found, position)

    def _warn_of_none(self, why: str) -> None:
        what = (
            f"{self._asset}: which stored log continues this snapshot could not be told, so it "
            f"comes back as it stands, without any: {why}"
        )
        self._report.emit(Notice("warning", what))
