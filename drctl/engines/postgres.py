"""PostgreSQL: a running cluster as its files, with the WAL that makes them one state.

Two ways to read it: in place beside the server (`local`), or over the replication protocol
(`remote`); `auto` takes the first where the data directory is there and may be read.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from drctl.engines import postgres_extract, postgres_spaces
from drctl.engines.base import Capture, Engine, Surroundings
from drctl.engines.postgres_capture import private_facts
from drctl.engines.postgres_client import Client, Cluster, Settings
from drctl.engines.postgres_dump import DumpSource
from drctl.engines.postgres_loaded import hollow
from drctl.engines.postgres_local import LocalCapture
from drctl.engines.postgres_probe import Marker, Probe
from drctl.engines.postgres_proof import page_reader
from drctl.engines.postgres_remote import RemoteCapture
from drctl.engines.postgres_seek import choose
from drctl.engines.postgres_stream import Follower
from drctl.engines.postgres_target import target
from drctl.engines.unfinished import refuse_to_save
from drctl.errors import SourceError
from drctl.events import Notice

if TYPE_CHECKING:
    import psycopg

_HOLD = "drctl_backup_"


class Source:
    """A base snapshot of a running cluster; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around
        self._client = Client(settings, asset, around)

    @contextmanager
    def open(self) -> Iterator[Capture]:
        with ExitStack() as stack:
            if self._settings.dump:
                yield stack.enter_context(DumpSource(self._client, self._around).open())
                return
            proving = stack.enter_context(ExitStack())
            reader = proving.enter_context(page_reader()) if self._is_likely_here() else None
            sql = stack.enter_context(self._client.connect())
            cluster = self._client.cluster(sql)
            self._advise(cluster)
            about = (self._asset, cluster, private_facts(sql), self._around)
            top = self._data_directory(sql, cluster)
            if not (top and cluster.checksums):
                proving.close()
                reader = None
            elif reader is None:
                reader = proving.enter_context(page_reader())
            if top:
                yield LocalCapture(top, reader, stack.enter_context(self._holding_wal()), *about)
                return
            wire = stack.enter_context(self._client.replication(warned=True))
            holding = stack.enter_context(self._holding_wal())
            yield RemoteCapture(wire, holding, self._client, *about)

    def _is_likely_here(self) -> bool:
        """Whether its files will be read in place: what proves their pages gets ready while we
        connect then."""
        return self._settings.mode != "remote" and self._settings.host[:1] in ("", "/")

    def _advise(self, cluster: Cluster) -> None:
        if not cluster.checksums:
            what = f"{self._asset}: page checksums are off, so corruption of its disk goes unseen"
            self._around.report.emit(Notice("warning", f"{what}: see pg_checksums --enable"))

    @contextmanager
    def _holding_wal(self) -> "Iterator[psycopg.Connection[Any]]":
        """A connection whose temporary slot keeps the WAL of this backup; both go together, also
        when we are killed. Where no slot is to be had, wal_keep_size must do."""
        import psycopg

        with self._client.connect() as connection:
            _live_long(connection)
            # The server's number: in containers each of us may have the same. The client's word for
            # it may be a pooler's.
            name = "%s || pg_backend_pid()"
            call = f"select pg_create_physical_replication_slot({name}, true, true)"
            try:
                connection.execute(call, (_HOLD,))
            except psycopg.Error as error:
                what = f"{self._asset}: no slot keeps its WAL while it is read: {error}".strip()
                self._around.report.emit(Notice("warning", what))
            yield connection

    def _data_directory(self, sql: "psycopg.Connection[Any]", cluster: Cluster) -> bytes:
        """Where its files can be read in place; empty: they are asked for over the wire."""
        mode = self._settings.mode
        if mode == "remote" or (mode == "auto" and cluster.in_recovery):
            return b""
        row = sql.execute(
            "select setting, extract(epoch from pg_postmaster_start_time())::bigint"
            " from pg_settings where name = 'data_directory'"
        ).fetchone()
        top = os.fsencode(row[0]) if row and row[0] else b""
        if top and not cluster.in_recovery and _is_it(top, int(row[1] if row else 0), cluster):
            refuse_to_save(self._asset, top)
            return top
        if mode == "auto":
            return b""
        raise SourceError(
            f"{self._asset}: its data directory cannot be read in place",
            hint="run drctl there as root or as the server's user, grant pg_read_all_settings to "
            "the role, or set 'mode: remote'; a standby is read remotely, too",
        )


def _live_long(connection: "psycopg.Connection[Any]") -> None:
    """A base takes as long as it takes: limits that were meant for people must not end it."""
    connection.execute("set statement_timeout = 0")
    if connection.info.server_version >= 140000:
        connection.execute("set idle_session_timeout = 0")


def _is_it(top: bytes, started: int, cluster: Cluster) -> bool:
    """Whether what lies there belongs to the server that we talk to, and may be read by us. A path
    alone proves nothing: the server may be on another host."""
    try:
        with open(top + b"/global/pg_control", "rb") as control:
            (system_id,) = struct.unpack("<Q", control.read(8))
        with open(top + b"/postmaster.pid", "rb") as pid:
            lines = pid.read().split(b"\n")
    except (OSError, struct.error):
        return False
    return str(system_id) == cluster.system_id and abs(int(lines[2]) - started) <= 2


ENGINE = Engine(
    "postgres",
    Settings,
    Source,
    target,
    Probe,
    Marker,
    Follower,
    in_order=False,
    has_delta=True,
    has_log=True,
    choose=choose,
    hollow=hollow,
    extraction=postgres_extract,
    beside=(postgres_spaces.BESIDE,),
    moved=postgres_spaces.moved,
)
