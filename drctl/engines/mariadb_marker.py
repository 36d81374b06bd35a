"""The marker: one row in a database of its own; a restored copy tells by it how fresh it is."""

from typing import TYPE_CHECKING, Any

from drctl.engines.base import Surroundings
from drctl.engines.mariadb_client import Access, Settings, ask

if TYPE_CHECKING:
    from pymysql.connections import Connection

NO_SUCH = (1049, 1146)  # database, table
# Nothing waits long for whoever holds the table, or all tables, locked.
_LIMITS = "set lock_wait_timeout = 2, innodb_lock_wait_timeout = 2"
_TABLE = (
    "create table if not exists drctl.marker "
    "(asset varchar(64) primary key, at_ns bigint not null) engine=InnoDB"
)


class Marker:
    """See engines.base.Marker."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    def write(self, at_ns: int) -> None:
        """Database and table are made where they are missing."""
        import pymysql

        with Access(self._settings, self._around).connect(alive=True) as server:
            ask(server, _LIMITS)
            try:
                self._replace(server, at_ns)
            except pymysql.MySQLError as error:
                if error.args[0] not in NO_SUCH:
                    raise
                with server.cursor() as cursor:
                    cursor.execute("create database if not exists drctl")
                    cursor.execute(_TABLE)
                self._replace(server, at_ns)

    def _replace(self, server: "Connection[Any]", at_ns: int) -> None:
        row = (self._asset, at_ns)
        with server.cursor() as cursor:
            cursor.execute("replace into drctl.marker (asset, at_ns) values (%s, %s)", row)
