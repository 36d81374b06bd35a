"""What both ways of reading a cluster have in common: what they tell of it."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from drctl.engines.base import Item, LogSink, PlainItem, Surroundings
from drctl.engines.postgres_client import Cluster, show_lsn
from drctl.engines.postgres_kin import Reach, sized_apart, stored_apart
from drctl.events import Notice
from drctl.logpieces import APART
from drctl.model import Entry, Kind

if TYPE_CHECKING:
    import psycopg

# Settings of the server that say where things lie, or what only this host has.
_OWN = re.compile(
    r"(.*_file|.*_directory|.*_directories|.*_command|listen_addresses|port|"
    r"archive_.*|primary_.*|recovery_.*|ssl.*|cluster_name|synchronous_standby_names|log_.*)"
)


class Capture(ABC):
    """See engines.base.Capture. The consistent point is the end of the backup: what was committed
    before is in the snapshot, with the WAL that brings it there."""

    mode = ""
    _sql: "psycopg.Connection[Any]"

    def __init__(
        self, asset: str, cluster: Cluster, private_facts: dict[str, str], around: Surroundings
    ) -> None:
        self.asset = asset
        self.cluster = cluster
        self.around = around
        self.private_facts = private_facts
        self.consistent_at_ns = around.clock.now_ns()
        self.corrupt_pages = 0
        self._known: dict[str, str] = {}

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """See engines.base.Capture."""

    def name_point(self, name: str) -> None:
        """See engines.base.NamesPoints. The name lies in the WAL before this backup begins, so a
        restore to it goes on from an earlier one, which `point_ns` is for. Without the grant there
        is no name, and a time does nearly as well."""
        import psycopg

        if self.cluster.in_recovery:
            self._warn_nameless("a standby writes none; let 'host' be the primary")
            return
        at_ns = self.server_now_ns(self._sql)
        try:
            self._sql.execute("select pg_create_restore_point(%s)", (name,))
        except psycopg.errors.InsufficientPrivilege:
            how = "grant execute on function pg_create_restore_point(text) to the role"
            self._warn_nameless(how)
            return
        self._known |= {"point": name, "point_ns": str(at_ns)}

    def _warn_nameless(self, how: str) -> None:
        what = f"{self.asset}: the group's instant was not named in its WAL: {how}"
        self.around.report.emit(Notice("warning", what))

    @property
    def label(self) -> str:
        return f"drctl {self.asset}"

    @property
    def facts(self) -> dict[str, str]:
        return {
            "mode": self.mode,
            "postgresql": str(self.cluster.version),
            "system_id": self.cluster.system_id,
            "timeline": str(self.cluster.timeline),
            "segment_bytes": str(self.cluster.segment_bytes),
            "checksums": "on" if self.cluster.checksums else "off",
            "corrupt_pages": str(self.corrupt_pages),
            **self._known,
        }

    def reached(self, started: int, ended: int, before_ns: int, after_ns: int) -> None:
        """The end of the backup lies between the two instants, by the server's clock. Replay to an
        instant can begin here only for instants that are not before the second. A primary ends the
        last segment itself; on a standby it is still being written when it is copied, so the log's
        is needed, too."""
        is_open = self.cluster.in_recovery
        last = max(ended - 1, started) - self.cluster.segment_bytes * is_open
        self.consistent_at_ns = before_ns
        self._known["usable_from_ns"] = str(after_ns)
        self._known["log_first"] = self.cluster.segment(started)
        self._known["log_reached"] = self.cluster.segment(max(last, 0))
        known = {
            "segment_bytes": self.cluster.segment_bytes,
            "timeline": self.cluster.timeline,
            "system_id": self.cluster.system_id,
            "major": self.cluster.major,
            "last_is_open": is_open,
        }
        self.private_facts |= {
            "cluster": json.dumps(known),
            "wal_start": show_lsn(started),
            "wal_end": show_lsn(ended),
        }
        if self.around.open_log:
            log = self.around.open_log(self.cluster.system_id)
            self._known |= self._continued_by(log, started, ended)

    def _continued_by(self, log: LogSink, started: int, ended: int) -> dict[str, str]:
        """A base without a log is better than one with another history's."""
        each = self.cluster.segment_bytes
        most = ended if self.cluster.in_recovery else -(-ended // each) * each
        segments = self.segments(started, ended)
        reason, how = sized_apart(log.pieces(), each), ""
        if not reason:
            reason = stored_apart(log, segments, Reach(most, each), self.own_wal)
            how = "let the server take a timeline of its own (docs/engines/postgres.md), or "
        if not reason:
            return {"log_stream": log.stream}
        what = f"{self.asset}: this snapshot names no log, and comes back as it stands: {reason}"
        notice = Notice("warning", f"{what}: {how}give the asset another name")
        self.around.report.emit(notice)
        return {APART: reason}

    @abstractmethod
    def own_wal(self, file: str, offset: int, size: int) -> bytes:
        """What this base has of a segment of its WAL; less than `size`: it is not there."""

    def segments(self, started: int, ended: int) -> list[str]:
        """The names of the WAL segments from one position up to another."""
        each = self.cluster.segment_bytes
        first, last = started // each, max(ended - 1, started) // each
        return [self.cluster.segment(number * each) for number in range(first, last + 1)]

    @staticmethod
    def server_now_ns(connection: "psycopg.Connection[Any]") -> int:
        row = connection.execute(
            "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"
        ).fetchone()
        assert row  # noqa: S101 - it always gives one
        return int(row[0]) * 1000

    @staticmethod
    def as_json(value: object) -> str:
        return json.dumps(value)


class Owner(NamedTuple):
    """Whose a file is, and its time."""

    uid: int
    gid: int
    mtime_ns: int


def bytes_item(path: bytes, data: bytes, owner: Owner) -> PlainItem:
    """A file whose content is known."""
    entry = Entry(path, int(Kind.FILE), 0o600, *owner, len(data))
    return PlainItem(entry, _Known(data) if data else None)


class _Known:
    """See engines.base.Content and Stream."""

    block_bytes = 0

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_hint = len(data)
        self.entry = Entry(b"", 0)

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        return entry, self._data

    def stream(self, entry: Entry) -> "_Known":
        self.entry = entry
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield self._data


def private_facts(connection: "psycopg.Connection[Any]") -> dict[str, str]:
    """What a restored cluster needs and does not have in its data directory: where Debian keeps
    the configuration in /etc, the settings that were made; who may reach it."""
    rows = connection.execute(
        "select name, setting, coalesce(unit, '') from pg_settings where source in"
        " ('configuration file', 'command line') and context <> 'internal'"
    ).fetchall()
    settings = {name: setting + _unit(unit) for name, setting, unit in rows if not _is_own(name)}
    found = connection.execute("select rolname from pg_roles where oid = 10").fetchone()
    return {
        "settings": json.dumps(settings),
        "superuser": found[0] if found else "postgres",
        "host_based_access": _access(connection),
    }


def _is_own(name: str) -> bool:
    return _OWN.fullmatch(name) is not None


def _unit(unit: str) -> str:
    """Settings in pages are told as a count of them."""
    return unit if unit in {"B", "kB", "MB", "GB", "TB", "us", "ms", "s", "min", "h", "d"} else ""


def _access(connection: "psycopg.Connection[Any]") -> str:
    """pg_hba.conf, where the role may read it."""
    import psycopg

    try:
        row = connection.execute("select pg_read_file(current_setting('hba_file'))").fetchone()
    except psycopg.Error:
        return ""
    return str(row[0]) if row else ""
