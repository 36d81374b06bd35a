"""The marker of a SQLite database: one row, written into the live database, that says how fresh it
is. Wherever it comes back, the newest data in it is at least as new as its row.

Only with `mark: true` in the plan: a table in somebody's database is not made unasked.
"""

import os
import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import quote

from drctl.engines.base import Surroundings
from drctl.errors import SourceError
from drctl.units import parse_duration

TABLE = "drctl_marker"
_MAKE = (
    f"create table if not exists {TABLE} "
    "(id integer primary key check (id = 1), at_ns integer not null)"
)
_WRITE = f"insert or replace into {TABLE} values (1, ?)"  # noqa: S608 - the name is ours
_DAMAGED = "bring the database back with 'drctl restore'"
_DENIED = "may drctl write there? Without a marker set 'mark: false'"


def uri(path: str, how: str) -> str:
    """A file as SQLite is told of it, of whatever bytes its name is, and how it is opened."""
    return f"file:{quote(os.fsencode(os.path.abspath(path)))}?{how}"


def newest(database: sqlite3.Connection) -> int | None:
    """The instant in the newest row; None where there is no row, or no table."""
    named = "select count(*) from sqlite_master where type = 'table' and name = ?"
    if not database.execute(named, (TABLE,)).fetchone()[0]:
        return None
    found = database.execute(f"select max(at_ns) from {TABLE}").fetchone()[0]  # noqa: S608
    return None if found is None else int(found)


class Marker:
    """Writes the row; see engines.base.Marker."""

    def __init__(self, settings: Any, asset: str, around: Surroundings) -> None:
        self._path = os.path.join(around.base, settings.path)
        self._wait_seconds = parse_duration(settings.timeout)
        self._asset = asset

    def write(self, at_ns: int) -> None:
        """One row, always the same one: the table never grows."""
        if not os.path.isfile(self._path):
            raise SourceError(
                f"{self._asset}: {self._path}: no marker could be written: there is no such file",
                hint="the database is missing, or its path in the plan is wrong",
            )
        where, wait = uri(self._path, "mode=rw"), self._wait_seconds
        try:
            with closing(sqlite3.connect(where, uri=True, timeout=wait)) as database:
                database.execute(_MAKE)
                database.execute(_WRITE, (at_ns,))
                database.commit()
        except sqlite3.Error as error:
            raise SourceError(
                f"{self._asset}: {self._path}: no marker could be written: {error}{_told(error)}",
                hint=_DAMAGED if _told(error) else _DENIED,
            ) from error


def _told(error: sqlite3.Error) -> str:
    """What else SQLite should have said of a database that is none, or no longer one."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what SQLite adds to it
    if code == sqlite3.SQLITE_NOTADB:
        return ": it is damaged, or no SQLite database"
    return ": the database is damaged" if code == sqlite3.SQLITE_CORRUPT else ""
