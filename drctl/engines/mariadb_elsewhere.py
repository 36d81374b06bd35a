"""Tables with a DATA DIRECTORY: their files lie elsewhere at the source, and a `.isl` beside the
others tells InnoDB where. A base holds the files in their usual place, and the link.

A restored server that followed it would find the source's own file, or none. So the link goes, and
InnoDB finds the file by its name. Its dictionary still says "elsewhere", and a server that is told
to alter such a table ends with signal 11: the table is copied into a usual one first.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drctl.engines.mariadb_client import ask, quoted_name, tables
from drctl.engines.mariadb_server import explain, private_server
from drctl.errors import TargetRefused
from drctl.events import Notice, Reporter

if TYPE_CHECKING:
    from pymysql.connections import Connection

# Any table that a server could hold is to be copied as it is.
_AS_IT_IS = (
    "set foreign_key_checks = 0, sql_mode = '', innodb_strict_mode = 0, max_statement_time = 0, "
    "system_versioning_alter_history = 'keep'"
)


class Elsewhere(Struct, frozen=True):
    """A tablespace, by its names as files have them, and where it lay at the source."""

    database: str
    table: str  # a partition's, too
    place: str


def take_out(datadir: str) -> list[Elsewhere]:
    """Remove all links."""
    found = []
    for link in sorted(Path(datadir).glob("*/*.isl")):
        place = os.path.dirname(os.path.dirname(link.read_text(errors="replace").strip()))
        found.append(Elsewhere(link.parent.name, link.stem, place))
        link.unlink()
    return found


def bring_home(datadir: str, found: Sequence[Elsewhere], report: Reporter) -> None:
    """Make usual tables of prepared ones. Raises TargetRefused."""
    import pymysql

    with private_server(datadir) as server:
        try:
            with server.connect() as connection:
                for name, place in _tables(connection, found).items():
                    what = f"{name} was kept in {place} by DATA DIRECTORY: it comes back into"
                    report.emit(Notice("info", f"{what} {datadir} with all the others"))
                    ask(connection, f"alter table {name} force, algorithm = copy")
        except pymysql.MySQLError as error:
            raise TargetRefused(
                f"{datadir}: a table with a DATA DIRECTORY cannot be copied: {explain(error)}",
                hint="it needs as much room again as its largest table of this kind",
            ) from error
        server.stop()


def _tables(connection: "Connection[Any]", found: Sequence[Elsewhere]) -> dict[str, str]:
    """By their quoted names, with where they lay. What belongs to an index goes with its table."""
    ask(connection, _AS_IT_IS)
    known, places = set(tables(connection)), {}
    for one in found:
        table = one.table.split("#P#")[0].split("#p#")[0]
        names = [_name(connection, text) for text in (one.database, table)]
        if (names[0], names[1]) in known:
            places[quoted_name(*names)] = one.place
    return places


def _name(connection: "Connection[Any]", file: str) -> str:
    ((name,),) = ask(
        connection, f"select convert(_filename {connection.escape(file)} using utf8mb4)"
    )
    return str(name)
