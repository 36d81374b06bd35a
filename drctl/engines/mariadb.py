"""MariaDB: a base by mariadb-backup, its binlog, or a logical dump."""

from contextlib import AbstractContextManager

from drctl.engines.base import Capture, Engine, Surroundings, Target
from drctl.engines.mariadb_base import BaseSource
from drctl.engines.mariadb_client import Access, Settings
from drctl.engines.mariadb_dump import DumpSource
from drctl.engines.mariadb_probe import Probe
from drctl.engines.mariadb_restore import BaseTarget
from drctl.engines.tree_write import TreeTarget

_NO_SUCH = (1049, 1146)  # database, table


class Source:
    """What the plan asks for; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    def open(self) -> AbstractContextManager[Capture]:
        access = Access(self._settings, self._around)
        kind = DumpSource if self._settings.dump else BaseSource
        return kind(access, self._asset, self._around).open()


def target(_: Settings | None, to: str, facts: dict[str, str], around: Surroundings) -> Target:
    """Restores a base into the directory `to`, which a server then starts on; or a dump's files."""
    if facts.get("form") == "dump":
        return TreeTarget(to)
    return BaseTarget(to, facts, around)


class Marker:
    """One row in a database of its own; see engines.base.Marker."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    def write(self, at_ns: int) -> None:
        import pymysql

        with Access(self._settings, self._around).connect() as server:
            try:
                self._replace(server, at_ns)
            except pymysql.MySQLError as error:
                if error.args[0] not in _NO_SUCH:
                    raise
                with server.cursor() as cursor:
                    cursor.execute("create database if not exists drctl")
                    cursor.execute(_TABLE)
                self._replace(server, at_ns)

    def _replace(self, server: object, at_ns: int) -> None:
        with server.cursor() as cursor:  # type: ignore[attr-defined]
            cursor.execute(
                "replace into drctl.marker (asset, at_ns) values (%s, %s)", (self._asset, at_ns)
            )


_TABLE = (
    "create table if not exists drctl.marker "
    "(asset varchar(64) primary key, at_ns bigint not null) engine=InnoDB"
)

ENGINE = Engine("mariadb", Settings, Source, target, Probe, Marker)
