"""Asking a restored cluster, and marking a live one.

The checks install nothing: amcheck is created in a transaction that is rolled back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drctl.engines.base import Health, Surroundings
from drctl.engines.postgres_client import Client, Settings, speaking
from drctl.engines.postgres_databases import Database, databases
from drctl.engines.postgres_loaded import is_dump, loaded
from drctl.engines.postgres_server import Server, started
from drctl.errors import TargetRefused
from drctl.units import count

if TYPE_CHECKING:
    import psycopg

_WAIT_SECONDS = 3600.0  # for the replay of its log
_KEEP_MARKS_NS = 7 * 86400 * 10**9
_SYSTEM = "('pg_catalog', 'information_schema', 'pg_toast')"


class Probe:
    """Starts the cluster in a directory, or loads its dumps; see engines.base.Probe."""

    def __init__(self, settings: Settings, at: str, _around: Surroundings) -> None:
        self._settings = settings
        self._at = at

    @contextmanager
    def open(self) -> Iterator["_Standing"]:
        if is_dump(self._at):
            up = loaded(self._at)
        else:
            up = started(self._at, self._settings.database_role, _WAIT_SECONDS)
        with up as server:
            yield _Standing(server, self._settings.dbname)


class _Standing:
    """A cluster that is up; see engines.base.Standing."""

    def __init__(self, server: Server, dbname: str) -> None:
        self._server = server
        self._dbname = dbname
        self._asking: list[psycopg.Connection[Any]] = []

    @contextmanager
    def _connect(self, dbname: str) -> "Iterator[psycopg.Connection[Any]]":
        import psycopg

        try:
            with speaking(**self._server.parameters(dbname)) as connection:
                self._asking.append(connection)
                try:
                    yield connection
                finally:
                    self._asking.remove(connection)
        except psycopg.Error as error:
            raise TargetRefused(f"{dbname}: {str(error).strip()}") from error

    def _databases(self) -> list[Database]:
        with self._connect("template1") as connection:
            return databases(connection)

    def _readable(self) -> list[str]:
        return [each.name for each in self._databases() if not each.unreadable]

    def health(self) -> Health:
        """Every heap and every B-tree index of every database is read and checked."""
        looked, others = 0, list[str]()
        for database in self._readable():
            try:
                found, passed_over, wrong = self._check(database)
            except TargetRefused as error:
                return Health(ok=False, what=error.what)
            if wrong:
                return Health(ok=False, what=f"{database}: {wrong}")
            looked += found
            others += [f"{database}: {name}" for name in passed_over]
        what = f"amcheck: {count(looked, 'relation', 'relations')} whole"
        return Health(ok=True, what=what + _passed_over(others, self._databases()))

    def _check(self, database: str) -> tuple[int, list[str], str]:
        """How many relations were looked at, which were not, and what is wrong."""
        with self._connect(database) as connection:
            for (statement,) in connection.execute(_RESTING).fetchall():
                connection.execute(statement.encode())
            connection.execute("create schema drctl_probe")
            connection.execute("create extension if not exists amcheck schema drctl_probe")
            schema = _one(
                connection,
                "select quote_ident(nspname) from pg_extension e join pg_namespace n"
                " on n.oid = extnamespace where extname = 'amcheck'",
            )
            indexes = connection.execute(_indexes(schema)).fetchall()
            others = [str(name) for (name,) in connection.execute(_OTHERS.encode()).fetchall()]
            heaps: list[Any] = []
            wrong: list[Any] = []
            if connection.info.server_version >= 140000:
                heaps = connection.execute(_HEAPS).fetchall()
                wrong = connection.execute(_heap_check(schema)).fetchall()
            connection.rollback()
        told = "; ".join(f"{name}: page {page}: {what}" for name, page, what in wrong[:3])
        return len(indexes) + len(heaps), others, told

    def counts(self) -> dict[str, int]:
        """`rows.<database>.<schema>.<table>`; partitions by themselves."""
        counts = {}
        for database in self._readable():
            with self._connect(database) as connection:
                for schema, table, name in connection.execute(_TABLES).fetchall():
                    rows = _one(connection, f"select count(*) from {name}")  # noqa: S608
                    counts[f"rows.{database}.{schema}.{table}"] = rows
        return counts

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        with self._connect(self._dbname) as connection:
            connection.execute("set transaction read only")
            rows = connection.execute(sql.encode()).fetchall()
        return tuple(tuple("" if v is None else str(v) for v in row) for row in rows)

    def newest_mark_ns(self) -> int | None:
        with self._connect(self._dbname) as connection:
            if not _one(connection, "select to_regclass('drctl.marker') is not null"):
                return None
            found = _one(connection, "select max(at_ns) from drctl.marker")
        return None if found is None else int(found)

    def interrupt(self) -> None:
        import psycopg

        for connection in tuple(self._asking):
            try:
                connection.cancel()
            except psycopg.Error as error:
                raise TargetRefused(str(error).strip()) from error


def _passed_over(others: list[str], found: list[Database]) -> str:
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    told = f"; not looked at, since no heap: {', '.join(others[:3])}{more}" if others else ""
    shut = (f"; not looked at is {one.name}: {one.unreadable}" for one in found if one.unreadable)
    return told + "".join(shut)


_TABLES = (
    "select n.nspname, c.relname, c.oid::regclass::text from pg_class c"  # noqa: S608 - constants
    f" join pg_namespace n on n.oid = c.relnamespace where n.nspname not in {_SYSTEM}"
    " and c.relkind = 'r' and c.relpersistence = 'p' order by 1, 2"
)
# Triggers that may refuse what a check makes; none fires for these statements themselves.
_RESTING = (
    "select format('alter event trigger %I disable', evtname) from pg_event_trigger"
    " where evtenabled <> 'D'"
)
# amcheck knows no other storage of tables than PostgreSQL's own.
_TABLED = "c.relkind in ('r', 'm', 't') and c.relpersistence = 'p'"
_IS_HEAP = "c.relam = (select oid from pg_am where amname = 'heap')"
_HEAPS = f"select c.oid from pg_class c where {_TABLED} and {_IS_HEAP}"  # noqa: S608 - constants
_OTHERS = f"select c.oid::regclass::text from pg_class c where {_TABLED} and not {_IS_HEAP}"  # noqa: S608


def _heap_check(schema: str) -> str:
    return (
        "select c.oid::regclass::text, v.blkno, v.msg from pg_class c,"  # noqa: S608
        f" lateral {schema}.verify_heapam(c.oid) v"
        f" where {_TABLED} and {_IS_HEAP}"
    )


def _indexes(schema: str) -> str:
    return (
        f"select {schema}.bt_index_check(i.indexrelid) from pg_index i"  # noqa: S608
        " join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam"
        " where a.amname = 'btree' and c.relpersistence = 'p' and c.relkind = 'i'"
        " and i.indisready and i.indisvalid"
    )


def _one(connection: "psycopg.Connection[Any]", query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


class Marker:
    """Rows in `drctl.marker` of the live cluster; see engines.base.Marker."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._client = Client(settings, asset, around)

    def write(self, at_ns: int) -> None:
        """The schema is made where it is missing and the role may make it."""
        with self._client.connect() as connection:
            # It must not wait for the very stream that writes it, nor long for anybody else.
            connection.execute("set synchronous_commit = local")
            connection.execute("set lock_timeout = '2s'")
            if not _one(connection, "select to_regclass('drctl.marker') is not null"):
                if not _one(connection, "select to_regnamespace('drctl') is not null"):
                    connection.execute("create schema drctl")
                connection.execute(
                    "create table if not exists drctl.marker (at_ns bigint not null)"
                )
            # One that is newer was written while a clock was ahead: a copy would look too fresh.
            kept = (at_ns - _KEEP_MARKS_NS, at_ns)
            connection.execute("delete from drctl.marker where at_ns not between %s and %s", kept)
            connection.execute("insert into drctl.marker values (%s)", (at_ns,))
