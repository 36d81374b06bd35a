"""Talking to a running PostgreSQL: connections, what it is, and its words as our errors."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field

from drctl.engines.base import Surroundings
from drctl.engines.values import Flag, Period, Port, SecretRef
from drctl.errors import SourceError

if TYPE_CHECKING:
    import psycopg
    from psycopg import pq

OLDEST_VERSION = 130000
# Right after a promotion pg_control still tells the timeline before it.
_TIMELINE = (
    "case when pg_is_in_recovery() then c.timeline_id else"
    " ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end"
)
_CONNECT_SECONDS = 15
# A host that vanished is noticed within a minute, and whatever stands between drops no connection
# that rests. Nothing of it counts for a Unix socket.
_ALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_ENCODING = "UTF8"


class Settings(BaseModel):
    """What the plan says under `postgres`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(default="", description="Directory of its Unix socket, or a host's name.")
    port: Port = Field(default=5432, description="Its port.")
    database_role: str = Field(default="", description="Role to connect as; empty: the OS user.")
    dbname: str = Field(default="postgres", description="Database to connect to.")
    password: SecretRef | None = Field(default=None, description="Reference to the password.")
    mode: str = Field(
        default="auto", pattern="^(auto|local|remote)$", description="auto, local or remote."
    )
    dump: Flag = Field(
        default=False, description="Logical dumps, to move between versions, not the files."
    )
    stream: Flag = Field(default=False, description="Its WAL is kept by 'drctl stream'.")
    synchronous: Flag = Field(
        default=False, description="Store WAL at once: commits wait for the repository."
    )
    store_every: Period = Field(
        default="2s", description="How often new WAL is stored, such as 2s."
    )
    mark: Flag = Field(default=False, description="Write a marker row, to measure freshness by.")
    mark_every: Period = Field(default="30s", description="How often the marker row is written.")
    slot: str = Field(
        default="drctl", pattern="^[a-z0-9_]{1,63}$", description="Slot that keeps WAL for it."
    )


# Codes and words of a refusal, and what a tired person can do about it. A refused connection has no
# code in libpq.
_HINTS = (
    ((), r'database ".*" does not exist',
     "the server runs, and has no such database: set 'dbname' to one that is there"),
    ((), r'role ".*" does not exist',
     "the server runs, and has no such role: make it, or set 'database_role' to another"),
    (("28P01", "28000"), "no password supplied|authentication",
     "set 'password' in the plan to where it lies, and look at pg_hba.conf"),
    (("42501",), "permission denied|must be",
     "the role lacks a grant in the database {dbname}: docs/engines/postgres.md lists them"),
    ((), "no pg_hba.conf entry", "pg_hba.conf must let the role in, for 'replication' too"),
    (("22021",), "is not UTF-8",
     "a name or a setting in it has letters of another encoding: rename it"),
    (("53400",), "max_replication_slots|max_wal_senders",
     "raise max_wal_senders and max_replication_slots in postgresql.conf"),
)  # fmt: skip


class Cluster(Struct, frozen=True):
    """What a running cluster says of itself."""

    version: int  # such as 150018
    system_id: str
    timeline: int
    segment_bytes: int
    page_bytes: int
    checksums: bool
    in_recovery: bool

    @property
    def major(self) -> int:
        return self.version // 10000

    def segment(self, lsn: int, timeline: int | None = None) -> str:
        """The name of the WAL segment that holds a position."""
        number = lsn // self.segment_bytes
        each = 0x1_0000_0000 // self.segment_bytes
        return f"{timeline or self.timeline:08X}{number // each:08X}{number % each:08X}"


def lsn_of(text: str) -> int:
    """`0/3000028` as a number. Raises ValueError."""
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"'{text}' is not a position in the log such as 0/3000028")
    return (int(high, 16) << 32) + int(low, 16)


def show_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@contextmanager
def speaking(**parameters: Any) -> "Iterator[psycopg.Connection[Any]]":
    """A connection in UTF-8, whatever the environment or the database says: one in SQL_ASCII would
    give bytes for text. Raises psycopg.Error, also where such a database holds something else."""
    import psycopg

    try:
        with psycopg.connect(**parameters, client_encoding=_ENCODING) as connection:
            yield connection
    except UnicodeDecodeError as error:
        raise psycopg.DataError(f"{error.object!r} is not UTF-8") from error


class Client:
    """One cluster that is up, and how to reach it."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self.settings = settings
        self.asset = asset
        self._around = around

    @property
    def where(self) -> str:
        host = self.settings.host or "the local socket"
        return f"{self.asset}: PostgreSQL at {host}, port {self.settings.port}"

    def parameters(self) -> dict[str, Any]:
        """What libpq is told, the password among it. Raises KeyUnavailable."""
        own = self.settings
        given = {
            "host": own.host,
            "port": own.port,
            "user": own.database_role,
            "dbname": own.dbname,
            "password": self._around.secret(own.password) if own.password else "",
            "application_name": "drctl",
            "connect_timeout": _CONNECT_SECONDS,
            **_ALIVE,
        }
        return {key: value for key, value in given.items() if value}

    @contextmanager
    def connect(self, dbname: str = "") -> Iterator["psycopg.Connection[Any]"]:
        """A connection for SQL, each statement its own transaction. Its errors, and those of what
        is done in it, come as SourceError."""
        import psycopg

        parameters = {**self.parameters(), **({"dbname": dbname} if dbname else {})}
        try:
            with speaking(**parameters, autocommit=True) as connection:
                yield connection
        except psycopg.Error as error:
            raise self.error(error, dbname) from error

    @contextmanager
    def replication(self, *, warned: bool = False) -> Iterator["pq.abc.PGconn"]:
        """A connection for the replication protocol. `warned`: what the server warns of comes,
        however it is set up."""
        import psycopg
        from psycopg import pq
        from psycopg.conninfo import make_conninfo

        more = {"replication": "true", "client_encoding": _ENCODING}
        if warned:
            own = os.environ.get("PGOPTIONS", "")
            more["options"] = f"{own} -c client_min_messages=warning".strip()
        given = make_conninfo(**self.parameters(), **more)
        connection = pq.PGconn.connect(given.encode())
        try:
            if connection.status != pq.ConnStatus.OK:
                raise self.error(psycopg.OperationalError(told(connection.error_message)))
            yield connection
        except psycopg.Error as error:
            raise self.error(error) from error
        finally:
            with suppress(psycopg.Error):
                connection.finish()

    def cluster(self, connection: "psycopg.Connection[Any]") -> Cluster:
        """What it is. Raises SourceError for one that cannot be backed up."""
        row = connection.execute(
            "select current_setting('server_version_num')::int, s.system_identifier::text,"  # noqa: S608
            f" {_TIMELINE}, i.bytes_per_wal_segment, i.database_block_size,"
            " i.data_page_checksum_version > 0, pg_is_in_recovery(), current_setting('wal_level')"
            " from pg_control_system() s, pg_control_checkpoint() c, pg_control_init() i"
        ).fetchone()
        assert row  # noqa: S101 - it always gives one
        *known, wal_level = row
        found = Cluster(*known)
        if found.version < OLDEST_VERSION:
            raise SourceError(f"{self.where}: version {found.major} is too old; 13 is the oldest")
        if wal_level == "minimal":
            raise SourceError(
                f"{self.where}: wal_level is minimal: it cannot be copied while it runs",
                hint="set wal_level = replica in postgresql.conf and restart it",
            )
        return found

    def error(self, error: Exception, dbname: str = "") -> SourceError:
        """The database's own words, and what helps."""
        state = getattr(error, "sqlstate", None) or ""
        text = str(error).strip()
        hint = _hint(state, text, dbname or self.settings.dbname)
        return SourceError(f"{self.where}: {text}", hint=hint)


def _hint(state: str, text: str, dbname: str) -> str:
    for states, words, hint in _HINTS:
        if state in states or re.search(words, text):
            return hint.format(dbname=dbname)
    if not state:
        return "is it running, and are 'host' and 'port' right?"
    return "nothing was kept, and earlier snapshots stay"


def told(message: bytes) -> str:
    """What libpq said, as text."""
    return message.decode("utf-8", "backslashreplace").strip()
