"""A restored MariaDB asked: does it come up, are its tables whole, how much and how fresh is it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from drctl.engines.base import Health, Surroundings
from drctl.engines.mariadb_client import Settings, ask, quoted_name, tables
from drctl.engines.mariadb_loaded import empty_server, is_dump, load
from drctl.engines.mariadb_marker import NO_SUCH
from drctl.engines.mariadb_server import Private, explain, private_server
from drctl.errors import TargetRefused

if TYPE_CHECKING:
    from pymysql.connections import Connection

_FINE = ("ok", "table is already up to date")
_BESIDES = ("note", "info")  # such as that a table in memory has nothing to be checked


class Probe:
    """Puts the restored files, or a dump's content, up; see engines.base.Probe."""

    def __init__(self, _: Settings | None, at: str, _around: Surroundings) -> None:
        self._at = at

    @contextmanager
    def open(self) -> Iterator["_Standing"]:
        import pymysql

        dumped = is_dump(self._at)
        up = empty_server(self._at) if dumped else private_server(self._at)
        with up as server:
            try:
                # Both before a dump brings passwords along.
                with server.connect() as connection, server.connect() as second:
                    if dumped:
                        load(server, self._at)
                    yield _Standing(connection, second, server)
            except pymysql.MySQLError as error:
                raise TargetRefused(f"{self._at}: {explain(error)}") from error
            with suppress(TargetRefused):  # that it ended by itself is told by its health
                server.stop()


class _Standing:
    """A private server; see engines.base.Standing."""

    def __init__(
        self, server: "Connection[Any]", second: "Connection[Any]", private: Private
    ) -> None:
        self._server = server
        self._second = second
        self._asking = int(ask(server, "select connection_id()")[0][0])
        self._private = private

    def health(self) -> Health:
        """CHECK TABLE of every table. InnoDB ends the server where a page is damaged."""
        import pymysql

        found = tables(self._server)
        for schema, table in found:
            try:
                rows = ask(self._server, f"check table {quoted_name(schema, table)} extended")
            except pymysql.MySQLError as error:
                return Health(False, f"CHECK TABLE {schema}.{table}: {explain(error)}")
            told = [str(row[3]) for row in rows if str(row[2]).lower() not in _BESIDES]
            wrong = [text for text in told if text.lower() not in _FINE]
            if wrong:
                return Health(False, f"CHECK TABLE {schema}.{table}: {wrong[0]}")
        return Health(bool(found), f"CHECK TABLE: {len(found)} tables are whole")

    def counts(self) -> dict[str, int]:
        found = {}
        for schema, table in tables(self._server):
            rows = ask(self._server, f"select count(*) from {quoted_name(schema, table)}")  # noqa: S608 - names are quoted
            found[f"rows.{schema}.{table}"] = int(rows[0][0])
        return found

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        import pymysql

        try:
            rows = ask(self._server, sql)
        except pymysql.MySQLError as error:
            raise TargetRefused(f"the query was refused: {explain(error)}") from error
        return tuple(tuple("" if value is None else str(value) for value in row) for row in rows)

    def newest_mark_ns(self) -> int | None:
        import pymysql

        try:
            rows = ask(self._server, "select max(at_ns) from drctl.marker")
        except pymysql.MySQLError as error:
            if error.args[0] in NO_SUCH:
                return None
            raise
        return None if rows[0][0] is None else int(rows[0][0])

    def interrupt(self) -> None:
        import pymysql

        try:
            ask(self._second, f"kill query {self._asking}")
        except pymysql.MySQLError as error:
            raise TargetRefused(explain(error)) from error
