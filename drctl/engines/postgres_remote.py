"""A base snapshot over the replication protocol: BASE_BACKUP, as pg_basebackup calls it.

Speaking the protocol ourselves needs no client program of the right version, no password in a file,
no room for a copy: each archive's tar is read as it comes, those of tablespaces too. The server
proves page checksums while it reads, and adds the WAL from the start to the end.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from drctl.engines import postgres_layout as layout
from drctl.engines.base import Item, PlainItem
from drctl.engines.postgres_capture import Capture, Owner, bytes_item
from drctl.engines.postgres_client import Client, lsn_of, told
from drctl.engines.postgres_feed import PIECE_BYTES, Feed
from drctl.engines.postgres_kin import Held
from drctl.errors import SourceError
from drctl.events import Notice
from drctl.model import Entry, Kind
from drctl.units import show_instant, show_seconds

if TYPE_CHECKING:
    import psycopg
    from psycopg import pq

# Words are the server's language; the name of the function is not.
_LEAVES_OUT = (b"sendDir", b"WARNING")
_PATH = re.compile(r"\.?/[^\"\u00ab\u00bb\u201c\u201d\u201e]+")
_NUMBER = re.compile(r"(?<![0-9A-Za-z])[0-9A-F]+(?![0-9A-Za-z])")
_LOGS = (b"./log", b"./pg_log")
_DATA_CORRUPTED = "XX001"
_BEHIND_NS = 60 * 10**9
# A standby that receives, and has replayed all that the primary had, is of now; any other of its
# newest commit, or of the checkpoint that it keeps. How far the primary is not every role may see.
_REPLAYED_TO = """
select (extract(epoch from case
  when (select coalesce(latest_end_lsn, pg_last_wal_receive_lsn()) <= pg_last_wal_replay_lsn()
        from pg_stat_wal_receiver)
  then clock_timestamp()
  else greatest(pg_last_xact_replay_timestamp(), c.checkpoint_time) end) * 1000000)::bigint
from pg_control_checkpoint() c
"""
# When whom it receives from last had anything new. A primary at rest, with nothing to write, has no
# more; one with something writes a checkpoint every five minutes, unless it is set up otherwise.
_HEARD_AT = """
select (extract(epoch from least(latest_end_time, clock_timestamp())) * 1000000)::bigint
from pg_stat_wal_receiver where latest_end_time is not null
"""
_SILENT_NS = 10 * 60 * 10**9
_NEW_PROTOCOL = 150000
MANIFEST = b"backup_manifest"


class RemoteCapture(Capture):
    """A cluster that answers the replication protocol; see engines.base.Capture."""

    mode = "remote"

    def __init__(
        self,
        wire: "pq.abc.PGconn",
        connection: "psycopg.Connection[Any]",
        client: Client,
        *about: Any,
    ) -> None:
        super().__init__(*about)
        self._wire = wire
        self._sql = connection
        self._client = client
        self._bad: dict[bytes, list[int]] = {}
        self._left_out: list[bytes] = []
        self._began = 0
        self._before_ns = 0
        self._spaces: dict[str, str] = {}
        self._owner: Owner | None = None
        self._wal = Held()
        if self.cluster.in_recovery:
            self.consistent_at_ns = self._replayed_to_ns()

    def items(self) -> Iterator[Item]:
        self._wire.notice_handler = self._notice
        self._wire.send_query(self._command())
        start = self._rows("where the backup starts")
        self._began = lsn_of(start[0][0])
        self.cluster = replace(self.cluster, timeline=int(start[0][1]))
        spaces = self._rows("its tablespaces")
        if self.cluster.version >= _NEW_PROTOCOL:
            yield from self._archives()
        else:
            yield from self._archives_of_old(spaces)
        self._conclude()

    def _command(self) -> bytes:
        label = "'" + self.label.replace("'", "''") + "'"
        if self.cluster.version >= _NEW_PROTOCOL:
            words = f"(LABEL {label}, CHECKPOINT 'fast', WAL true, MANIFEST 'yes',"
            return f"BASE_BACKUP {words} MANIFEST_CHECKSUMS 'SHA256')".encode()
        return f"BASE_BACKUP LABEL {label} FAST WAL NOWAIT".encode()

    # -- the protocol -------------------------------------------------------------------------

    def _rows(self, what: str) -> list[list[str]]:
        """The next result, which must be rows."""
        from psycopg import pq

        result = self._wire.get_result()
        if result is None or result.status != pq.ExecStatus.TUPLES_OK:
            raise self._error(f"the server does not say {what}", result)
        return [
            [told(result.get_value(row, column) or b"") for column in range(result.nfields)]
            for row in range(result.ntuples)
        ]

    def _begin_copy(self) -> None:
        from psycopg import pq

        result = self._wire.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            raise self._error("the server does not send the files", result)

    def _messages(self) -> Iterator[memoryview]:
        """What the server copies to us, until it has ended well so far."""
        while True:
            size, data = self._wire.get_copy_data(0)
            if size < 0:
                return
            yield data

    def _archives(self) -> Iterator[Item]:
        """One stream: `n` begins an archive, `d` is data, `m` begins the manifest."""
        self._begin_copy()
        feed = Feed(self._messages())
        while (begun := feed.begun()) is not None:
            name, _, path = begun.partition(b"\0")
            if name == b"":
                yield bytes_item(MANIFEST, feed.rest(), self._owner or Owner(0, 0, 0))
            else:
                yield from self._archive(feed, _prefix(name), path.rstrip(b"\0"))

    def _archives_of_old(self, spaces: list[list[str]]) -> Iterator[Item]:
        """Before version 15: a stream each, in the order of the list of tablespaces."""
        for oid, path, *_ in spaces:
            self._begin_copy()
            feed = Feed(b"d" + bytes(data) for data in self._messages())
            prefix = f"pg_tblspc/{oid}/".encode() if oid else b""
            yield from self._archive(feed, prefix, os.fsencode(path))

    def _archive(self, feed: Feed, prefix: bytes, path: bytes) -> Iterator[Item]:
        if prefix:
            self._spaces[os.fsdecode(prefix.split(b"/")[1])] = os.fsdecode(path)
            self.private_facts["tablespaces"] = self.as_json(self._spaces)
        try:
            with tarfile.open(
                fileobj=cast(Any, feed), mode="r|", bufsize=PIECE_BYTES, errors="surrogateescape"
            ) as archive:
                for member in archive:
                    yield from self._member(archive, member, prefix)
        except tarfile.ReadError as error:  # in what is passed over
            raise self._error("the server broke off", None) from error
        feed.skip()

    def _member(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, prefix: bytes
    ) -> Iterator[Item]:
        self._complain()
        entry = _entry(member, prefix)
        yield from self._top(entry)
        if entry.path == layout.CONTROL:
            self._before_ns = self._replayed_to_ns()
            self._tell_behind(self.server_now_ns(self._sql) - self._before_ns)
        if entry.kind != Kind.FILE:
            yield PlainItem(entry)
        elif not _is_left_out(entry.path):
            content = _Member(self, archive, member, entry.path) if entry.size else None
            yield PlainItem(entry, content)
        # The archive forgets a member once it is read: many files must not need much memory.
        cast(Any, archive).members = []

    def _replayed_to_ns(self) -> int:
        """The instant of the state that is read: on a standby it may be long ago."""
        now_ns = self.server_now_ns(self._sql)
        if not self.cluster.in_recovery:
            return now_ns
        row = self._sql.execute(_REPLAYED_TO).fetchone()
        assert row  # noqa: S101 - it always gives one
        return min(now_ns, int(row[0]) * 1000)

    def _tell_behind(self, behind_ns: int) -> None:
        if behind_ns > _BEHIND_NS:
            behind = f"the standby is {show_seconds(behind_ns / 1e9)} behind"
            what = f"{self.asset}: {behind}: what is saved is of {show_instant(self._before_ns)}"
            self.around.report.emit(Notice("warning", what))
        elif self.cluster.in_recovery and (row := self._sql.execute(_HEARD_AT).fetchone()):
            self._tell_silence(int(row[0]) * 1000)

    def _tell_silence(self, heard_ns: int) -> None:
        """Whom a standby receives from may be one, too, and cut off. Seen from here that is as a
        primary at rest."""
        if self._before_ns - heard_ns > _SILENT_NS:
            what = f"{self.asset}: nothing new came to the standby since {show_instant(heard_ns)}"
            how = "from a primary at rest; if it is another standby, look whether that is cut off"
            self.around.report.emit(Notice("warning", f"{what}: all is well if it receives {how}"))

    def _top(self, like: Entry) -> Iterator[Item]:
        """The data directory itself, which no archive names."""
        if not self._owner:
            self._owner = Owner(like.uid, like.gid, like.mtime_ns)
            yield PlainItem(Entry(b".", int(Kind.DIRECTORY), 0o700, *self._owner))

    # -- the end ------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Where the backup ended. That pages are corrupt is told at the very end, after all of
        them were sent: it is a snapshot, and not a whole one."""
        from psycopg import pq

        ended = 0
        while (result := self._wire.get_result()) is not None:
            if result.status == pq.ExecStatus.TUPLES_OK and result.ntuples:
                ended = lsn_of(told(result.get_value(0, 0) or b""))
            elif result.status == pq.ExecStatus.FATAL_ERROR and not self._is_corruption(result):
                raise self._error("the server broke off", result)
        if not ended and not self._bad:
            raise self._error("the server does not say where the backup ended", None)
        self._complain()
        after_ns = self.server_now_ns(self._sql)
        self.corrupt_pages = sum(map(len, self._bad.values()))
        self.reached(self._began, ended or self._began, self._before_ns, after_ns)

    def _is_corruption(self, result: "pq.abc.PGresult") -> bool:
        from psycopg import pq

        state = told(result.error_field(pq.DiagnosticField.SQLSTATE) or b"")
        return state == _DATA_CORRUPTED and bool(self._bad)

    def _error(self, what: str, result: "pq.abc.PGresult | None") -> SourceError:
        import psycopg

        words = told(result.error_message if result else self._wire.error_message)
        return self._client.error(psycopg.OperationalError(f"{what}: {words}" if words else what))

    def _notice(self, result: "pq.abc.PGresult") -> None:
        """With a file the server names each page that is wrong, and what it leaves out."""
        from psycopg import pq

        words = told(result.error_message).replace("\xa0", "")
        if found := _bad_page(words, self.cluster.page_bytes):
            self._bad.setdefault(self._entry_path(found[0]), []).append(found[1])
        which = pq.DiagnosticField.SOURCE_FUNCTION, pq.DiagnosticField.SEVERITY_NONLOCALIZED
        if tuple(map(result.error_field, which)) == _LEAVES_OUT:
            self._without(_PATH.search(words))

    def _entry_path(self, named: str) -> bytes:
        """A tablespace's files are named by where it lies."""
        for number, place in self._spaces.items():
            if named.startswith(f"{place}/"):
                return os.fsencode(f"pg_tblspc/{number}{named[len(place) :]}")
        return os.fsencode(named.removeprefix("./"))

    def _without(self, named: re.Match[str] | None) -> None:
        path = os.fsencode(named[0]) if named else b"a part of it"
        if path in _LOGS:
            what = f"{self.asset}: {os.fsdecode(path)} is a link, and the server does not send it"
            self.around.report.emit(Notice("warning", what))
        elif not layout.is_socket(path):
            self._left_out.append(path)

    def _complain(self) -> None:
        """Of a cluster that does not come whole."""
        if self._left_out:
            raise SourceError(
                f"{self.asset}: {os.fsdecode(self._left_out[0])} is a link, or no plain file, and "
                "the server does not send it",
                hint="back up on its own machine with 'mode: local', which follows links; or put "
                "there what the link leads to",
            )

    def own_wal(self, file: str, offset: int, size: int) -> bytes:
        return self._wal.get(file, offset, size)

    def keep_wal(self, path: bytes, offset: int, data: bytes) -> None:
        """Of a file that comes, where it is a segment and there is a log to compare it with."""
        if self.around.open_log and path.startswith(layout.WAL + b"/"):
            self._wal.take(os.fsdecode(os.path.basename(path)), offset, data)

    def problem(self, path: bytes) -> str:
        """What the server said of a file that it has sent."""
        blocks = self._bad.get(path, [])
        if not blocks:
            return ""
        return f"the checksum of page {blocks[0]} is wrong: the cluster is corrupt there"


def _bad_page(words: str, page_bytes: int) -> tuple[str, int] | None:
    """Where a page is whose checksum is wrong, in any language: behind the path come its number and
    two checksums; of a page that is cut two sizes, the last of which is a page's."""
    path = _PATH.search(words)
    numbers = _NUMBER.findall(words[path.end() :]) if path else []
    if not path or len(numbers) != 3 or not numbers[0].isdigit() or numbers[2] == str(page_bytes):
        return None
    return path[0].strip(), int(numbers[0])


def _prefix(archive: bytes) -> bytes:
    """`base.tar` is the data directory, `16400.tar` the tablespace of that number."""
    name = archive.removesuffix(b".tar")
    return b"" if name == b"base" else b"pg_tblspc/" + name + b"/"


def _is_left_out(path: bytes) -> bool:
    """Of what the server sends; the rest of what misleads it does not send."""
    return path == b"tablespace_map" or layout.is_signal(path) or layout.is_socket(path)


def _entry(member: tarfile.TarInfo, prefix: bytes) -> Entry:
    path = prefix + os.fsencode(member.name).removeprefix(b"./").rstrip(b"/")
    is_file = member.isreg()
    kind = Kind.FILE if is_file else Kind.DIRECTORY  # a tablespace's link is one, too
    mode = member.mode & 0o7777 if is_file or member.isdir() else 0o700
    return Entry(
        path or b".",
        int(kind),
        mode,
        member.uid,
        member.gid,
        int(member.mtime) * 10**9,
        member.size if is_file else 0,
    )


class _Member:
    """A file of an archive that is being read; see engines.base.Content."""

    def __init__(
        self,
        capture: RemoteCapture,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        path: bytes,
    ) -> None:
        self._capture = capture
        self._archive = archive
        self._member = member
        self.size_hint = member.size
        self.block_bytes = layout.BLOCK_BYTES if layout.is_relation(path) else 0

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        stream = self.stream(entry)
        data = b"".join(stream)
        return stream.entry, data

    def stream(self, entry: Entry) -> "_MemberStream":
        file = self._archive.extractfile(self._member)
        assert file  # noqa: S101 - it is a regular file
        return _MemberStream(self._capture, file, entry)


class _MemberStream:
    """See engines.base.Stream."""

    def __init__(self, capture: RemoteCapture, file: Any, entry: Entry) -> None:
        self._capture = capture
        self._file = file
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        try:
            while piece := self._file.read(PIECE_BYTES):
                self._capture.keep_wal(self.entry.path, size, piece)
                size += len(piece)
                yield piece
        except tarfile.ReadError as error:
            raise self._capture._error("the server broke off", None) from error
        if size != self.entry.size:
            raise self._capture._error("a file ends too early", None)
        self.entry = replace(self.entry, problem=self._capture.problem(self.entry.path))
