"""Following a cluster's WAL over the replication protocol, and storing it as it comes.

What the server is told to be safe is in the repository: it keeps the rest for the slot, and with
`synchronous` its commits wait for it. What came in is stored every few seconds, and a segment once
more when it is complete: `postgres_received`.
"""

import select
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.engines import postgres_layout as layout
from drctl.engines.base import LogSink, Surroundings
from drctl.engines.log_marks import Marks
from drctl.engines.postgres_client import Client, Cluster, Settings, lsn_of, show_lsn, told
from drctl.engines.postgres_kin import sized_apart
from drctl.engines.postgres_probe import Marker
from drctl.engines.postgres_received import Received, diverged, store_history
from drctl.engines.postgres_wal import Forks, begin, number_of, parse_history, resume
from drctl.errors import SourceError
from drctl.events import Notice
from drctl.logpieces import by_file
from drctl.units import parse_duration

if TYPE_CHECKING:
    from psycopg import pq

_DATA = struct.Struct("!cQQq")  # w, where it begins, where the server is, its time
_ALIVE = struct.Struct("!cQqB")  # k, where the server is, its time, whether it wants an answer
_ANSWER = struct.Struct("!cQQQqB")
_ANSWER_SECONDS = 5.0
_EPOCH_2000 = 946684800
_LOOK_SECONDS = 0.2
_REMOVED = "58P01"  # no such file: the words are in the server's language

Ended = Callable[[], bool]


class Follower:
    """See engines.base.Follower."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around
        self._client = Client(settings, asset, around)
        self._marker = Marker(settings, asset, around)
        self._after_gap = False

    def follow(self, ended: Ended) -> None:
        with self._client.connect() as sql:
            cluster = self._client.cluster(sql)
            restart = self._slot(sql, cluster)
        assert self._around.open_log  # noqa: S101 - a follower is given one
        log = self._around.open_log(cluster.system_id)
        with self._client.replication() as wire:
            about = (self._settings, self._asset, self._around, self._client)
            run = _Run(*about, cluster, log, wire)
            try:
                every = self._settings.mark_every
                with Marks(every, self._asset, self._around, self._marker) as marks:
                    run.run(restart, marks, ended, after_gap=self._after_gap)
            finally:
                self._after_gap = run.met_gap

    def _slot(self, sql: Any, cluster: Cluster) -> int:
        """Where the slot keeps WAL from. It is made where it is missing; one that was lost (the
        server gave up keeping its WAL) is made anew, and the gap is told."""
        name = self._settings.slot
        row = sql.execute(
            "select restart_lsn::text, wal_status, active from pg_replication_slots"
            " where slot_name = %s",
            (name,),
        ).fetchone()
        if row and row[2]:
            raise SourceError(
                f"{self._asset}: slot {name} is in use: another 'drctl stream' runs",
                hint="end that one, or give this asset a 'slot' of its own",
            )
        if row and row[1] == "unreserved":
            self._warn(f"slot {name} is about to lose WAL: raise max_slot_wal_keep_size")
        if row and row[0] is None:
            self._warn(f"slot {name} was lost: WAL is missing; take a new backup now")
            sql.execute("select pg_drop_replication_slot(%s)", (name,))
            row = None
        if row is None:
            sql.execute("select pg_create_physical_replication_slot(%s, true)", (name,))
            row = sql.execute(
                "select restart_lsn::text from pg_replication_slots where slot_name = %s", (name,)
            ).fetchone()
        at = lsn_of(row[0])
        return at - at % cluster.segment_bytes

    def _warn(self, what: str) -> None:
        self._around.report.emit(Notice("warning", f"{self._asset}: {what}"))


class _Run:
    """One connection, from where the repository's log ends."""

    def __init__(
        self,
        settings: Settings,
        asset: str,
        around: Surroundings,
        client: Client,
        cluster: Cluster,
        log: LogSink,
        wire: "pq.abc.PGconn",
    ) -> None:
        self._asset = asset
        self._around = around
        self._client = client
        self._cluster = cluster
        self._log = log
        self._wire = wire
        self._slot = settings.slot
        self._synchronous = settings.synchronous
        self._interval = parse_duration(settings.store_every)
        self._timeline = cluster.timeline
        self._answered_at = 0.0
        self._received = Received(asset, cluster, log, self._keep_alive)
        self.met_gap = False

    def run(self, restart: int, marks: Marks, ended: Ended, *, after_gap: bool) -> None:
        """Until it is ended, or something fails. What came in is stored in either case."""
        with self._received:
            self._start(*self._resume(restart, after_gap=after_gap))
            self._received.tidy()
            try:
                while not ended():
                    if not self._receive():
                        self._follow_timeline()
                    self._settle()
                    marks.keep()
            finally:
                self._received.store()
                self._answer()

    # -- where to begin -----------------------------------------------------------------------

    def _resume(self, restart: int, *, after_gap: bool) -> tuple[int, int]:
        """Timeline and position where the stored log ends: on the newest timeline that is stored
        and from which the server's comes. Of nothing stored, or after a gap: where the slot keeps
        WAL from."""
        pieces = self._log.pieces()  # before it says how far it is: archive_command adds
        files = by_file(pieces)
        self._received.find_left(pieces)
        timeline, reached = self._identified()
        if apart := sized_apart(pieces, self._cluster.segment_bytes):
            raise SourceError(
                f"{self._asset}: the log that is stored cannot be gone on with: {apart}",
                hint="give the asset another name, as after 'pg_resetwal --wal-segsize'",
            )
        forks = self._history(timeline)
        if after_gap:
            return begin(restart, forks, timeline)
        each = self._cluster.segment_bytes
        segments = [n for n, file in files.items() if layout.SEGMENT.fullmatch(n) and file.reach]
        known = {int(name[:8], 16) for name in segments}
        mine = [t for t in (timeline, *(t for t, _ in reversed(forks))) if t in known]
        if not mine:
            return begin(restart, forks, timeline)
        newest = max(name for name in segments if name.startswith(f"{mine[0]:08X}"))
        size = each if files[newest].whole else files[newest].size
        end = number_of(newest, each) * each + size
        way = [*forks, (timeline, end)]
        if mine[0] == timeline and end > reached:
            raise self._set_back(reached, end)
        self._tell_left(mine[0], end, way)
        return resume(mine[0], end - size % min(each, LOG_PIECE_MAX_BYTES), way, each)

    def _tell_left(self, stored: int, end: int, way: Forks) -> None:
        """A standby was promoted before it got all that is stored of the old server."""
        if (left := dict(way)[stored]) < end:
            what = f"the server left timeline {stored} at {show_lsn(left)}, before the end of what"
            hint = f"it may lack commits that 'restore --timeline {stored}' brings"
            notice = Notice("warning", f"{self._asset}: {what} is stored of it: {hint}")
            self._around.report.emit(notice)

    def _identified(self) -> tuple[int, int]:
        """The timeline that the server is on, and how far it is there."""
        result = self._wire.exec_(b"IDENTIFY_SYSTEM")
        if not result.ntuples:
            raise self._error("it does not identify itself", result)
        return int(result.get_value(0, 1) or b"1"), lsn_of(told(result.get_value(0, 2) or b"0/0"))

    def _set_back(self, reached: int, end: int) -> SourceError:
        """A server sends only what is on its disk, so what is stored of it, it had."""
        where = f"the server's log ends at {show_lsn(reached)}"
        return SourceError(
            f"{self._asset}: {where}, before the end of what is stored of it, {show_lsn(end)}",
            hint="a standby has to catch up; one that was set back to an earlier state, as by a "
            "snapshot of its machine, goes another way from there: give it an asset of its own",
        )

    def _history(self, timeline: int) -> Forks:
        """Store a timeline's history. Gives it."""
        if timeline == 1:
            return []
        result = self._wire.exec_(f"TIMELINE_HISTORY {timeline}".encode())
        if not result.ntuples:
            raise self._error("it does not give its timeline's history", result)
        name, text = told(result.get_value(0, 0) or b""), bytes(result.get_value(0, 1) or b"")
        for piece in self._log.pieces(name):
            if piece.size != len(text) or self._log.differs(piece, text):
                raise diverged(self._asset, name)
        forks = parse_history(told(text))
        if not self._log.is_whole(name):
            store_history(self._log, name, text, self._cluster.segment(forks[-1][1], timeline))
        return forks

    def _start(self, timeline: int, at: int) -> None:
        """Begin to receive."""
        from psycopg import pq

        self._timeline = timeline
        query = f'START_REPLICATION SLOT "{self._slot}" PHYSICAL {show_lsn(at)}'
        result = self._wire.exec_(f"{query} TIMELINE {timeline}".encode())
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise self._stopped("it does not send its WAL", result)
        self._around.report.emit(Notice("info", f"{self._asset}: following its log"))
        self._received.resume(timeline, at)

    # -- receiving ----------------------------------------------------------------------------

    def _receive(self) -> bool:
        """Take what has come. False: the server's timeline has ended."""
        taken = False
        while True:
            size, data = self._wire.get_copy_data(1)
            if size == 0:
                if taken:
                    return True
                self._wait()
                taken = True
                continue
            if size < 0:
                return self._finished()
            self._message(data)
            taken = True

    def _wait(self) -> None:
        select.select([self._wire.socket], [], [], _LOOK_SECONDS)
        self._wire.consume_input()

    def _finished(self) -> bool:
        """The server stopped sending: at the end of a timeline in good order, or for an error."""
        from psycopg import pq

        result = self._wire.get_result()
        if result is not None and result.status == pq.ExecStatus.COPY_IN:
            return False
        raise self._stopped("it broke off", result)

    def _follow_timeline(self) -> None:
        """The timeline has ended where another one left it: go on with that one, from the begin of
        the segment in which it began."""
        self._received.store()
        self._wire.put_copy_end()
        result = self._wire.get_result()
        if result is None or not result.ntuples:
            raise self._error("it does not say which timeline follows", result)
        timeline = int(result.get_value(0, 0) or b"0")
        at = lsn_of(told(result.get_value(0, 1) or b""))
        while self._wire.get_result() is not None:
            pass
        what = f"{self._asset}: timeline {self._timeline} was left for {timeline}"
        self._around.report.emit(Notice("info", f"{what} at {show_lsn(at)}"))
        self._history(timeline)
        self._start(timeline, at - at % self._cluster.segment_bytes)

    def _message(self, data: memoryview) -> None:
        kind = bytes(data[:1])
        if kind == b"w":
            _, begin, _, _ = _DATA.unpack_from(data)
            if self._received.take(begin, data[_DATA.size :]):
                self._answer()
                self._received.tidy()
        elif kind == b"k":
            _, _, _, wants = _ALIVE.unpack_from(data)
            if wants:
                self._received.store()
                self._answer()

    # -- storing ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Every few seconds, or at once where commits wait for it."""
        now = time.monotonic()
        is_due = self._synchronous or now - self._received.stored_at >= self._interval
        if is_due and self._received.has_new:
            self._received.store()
            self._answer()
        else:
            self._keep_alive()

    def _keep_alive(self) -> None:
        if time.monotonic() - self._answered_at >= _ANSWER_SECONDS:
            self._answer()

    def _answer(self) -> None:
        """Tell the server how far its WAL is safe."""
        import psycopg

        at = self._received.flushed
        now = int((time.time() - _EPOCH_2000) * 1e6)
        try:
            self._wire.put_copy_data(_ANSWER.pack(b"r", self._received.at, at, at, now, 0))
            self._wire.flush()
        except psycopg.Error:
            return  # it is gone, which the next look tells
        self._answered_at = time.monotonic()

    # -- errors -------------------------------------------------------------------------------

    def _stopped(self, what: str, result: "pq.abc.PGresult | None") -> SourceError:
        """It sends no WAL, or no more."""
        from psycopg import pq

        state = result.error_field(pq.DiagnosticField.SQLSTATE) if result else None
        if told(state or b"") != _REMOVED:
            return self._error(what, result)
        self.met_gap = True
        return SourceError(
            f"{self._asset}: the log has a gap: {self._words(result)}",
            hint="take a new backup now; set max_slot_wal_keep_size with room, and keep "
            "'drctl stream' running",
        )

    def _error(self, what: str, result: "pq.abc.PGresult | None") -> SourceError:
        import psycopg

        words = self._words(result)
        return self._client.error(psycopg.OperationalError(f"{what}: {words}" if words else what))

    def _words(self, result: "pq.abc.PGresult | None") -> str:
        return told(result.error_message if result else self._wire.error_message)
