"""The databases of a cluster: which can be read, and why others cannot."""

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    import psycopg

# Of pg_database. DROP DATABASE marks its database so before it takes anything away: what is left of
# one that was interrupted lets nobody in. Since 13.12, 14.9 and 15.4; an older server marks none.
INVALID = "datconnlimit = -2"
_HALF = "an interrupted DROP DATABASE left it, and nobody can read it"
_SHUT = "it lets nobody in"
_ALL = (
    f"select oid, datname, {INVALID}, datallowconn from pg_database"  # noqa: S608 - constants
    " where datname not in ('template0', 'template1') order by datname"
)


class Database(Struct, frozen=True):
    """`number` stays when it gets another name. `unreadable`: why; empty: it can be read."""

    number: int
    name: str
    unreadable: str


def databases(connection: "psycopg.Connection[Any]") -> list[Database]:
    """All but the server's own templates; one that somebody made may hold anything."""
    rows = connection.execute(_ALL.encode()).fetchall()
    return [
        Database(int(number), str(name), _HALF if is_half else "" if is_open else _SHUT)
        for number, name, is_half, is_open in rows
    ]
