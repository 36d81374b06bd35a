"""What the passing account leaves behind in a server into which a log was put."""

from drctl.engines.mariadb_client import ask, quoted_name
from drctl.engines.mariadb_server import Private, explain
from drctl.errors import TargetRefused

_OWNED = "select db, name from mysql.{} where definer = '{}@localhost'"


def left_behind(server: Private) -> tuple[set[str], list[str]]:
    """The transactions that it did in its own name, by their GTIDs (see mariadb_invoker), and what
    it is the definer of. Raises TargetRefused."""
    import pymysql

    name = server.account
    table = quoted_name("mysql", name)
    try:
        with server.connect() as connection:
            is_there = ask(connection, f"show tables from mysql like '{name}'")
            done = ask(connection, f"select gtid from {table}") if is_there else []  # noqa: S608 - a name of ours
            ask(connection, f"drop table if exists {table}")
            owned = [ask(connection, _OWNED.format(kind, name)) for kind in ("event", "proc")]
    except pymysql.MySQLError as error:
        raise TargetRefused(
            f"what was replayed cannot be looked through: {explain(error)}",
            hint="remove what was restored, and restore it again",
        ) from error
    orphans = [f"{_text(a)}.{_text(b)}" for found in owned for a, b in found]
    return {str(row[0]) for row in done}, orphans


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
