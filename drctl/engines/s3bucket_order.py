"""Objects in the order of entries. A bucket lists its keys in another one.

The listing goes to a table on disk in the scratch directory, unlinked as soon as it is open, so
memory is bounded and a killed run leaves nothing. It takes about 200 bytes an object.

A key becomes a path in which `%` is an escape: `%25` is a per cent sign, `%00` a NUL, `%2E` a dot
where a part is `.` or `..`. A lone `%` stands for a part that is empty, as after a final slash; and
at the end of a name it tells an object from the directory of the same name.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager

from msgspec import Struct

from drctl.errors import SourceError
from drctl.model import sort_key

_TABLE = """
create table objects (
  place blob primary key, key text, etag text, size integer, modified_ns integer, version text,
  is_latest integer, is_there integer
) without rowid
"""
# Of several versions the newest counts; of a version and a deletion at one instant, the version.
_ADD = """
insert into objects values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (place) do update set
  etag = excluded.etag, size = excluded.size, modified_ns = excluded.modified_ns,
  version = excluded.version, is_latest = excluded.is_latest, is_there = excluded.is_there
where (excluded.is_latest, excluded.modified_ns, excluded.is_there)
  > (is_latest, modified_ns, is_there)
"""
_READ = "select place, key, etag, size, modified_ns, version from objects where is_there"
_PLACES = "select place from objects where is_there order by place"


class Listed(Struct, frozen=True):
    """One object as it was listed, its key below the prefix. `version` is empty where the bucket
    keeps none. One that is not `is_there` is a deletion."""

    key: str
    etag: str
    size: int
    modified_ns: int
    version: str = ""
    is_latest: bool = True
    is_there: bool = True


def path_of(key: str) -> bytes:
    """The path of an object's entry, by which the key can be told."""
    return b"/".join(_part(part) for part in key.encode().split(b"/"))


def _part(part: bytes) -> bytes:
    if part in (b".", b".."):
        return part.replace(b".", b"%2E")
    return part.replace(b"%", b"%25").replace(b"\0", b"%00") or b"%"


class Order:
    """What was listed, to be read in order."""

    def __init__(self, table: sqlite3.Connection) -> None:
        self._table = table
        self.objects = 0
        self.size_bytes = 0

    def add(self, path: bytes, found: Listed) -> None:
        """One of the listing. Raises SourceError when the disk is full."""
        row = (sort_key(path), found.key, found.etag, found.size, found.modified_ns, found.version,
               found.is_latest, found.is_there)  # fmt: skip
        with _telling():
            self._table.execute(_ADD, row)

    def settle(self) -> None:
        """All were added: objects that share their path with a directory get one of their own."""
        with _telling():
            twice: list[bytes] = []
            last = b"\0"
            for (place,) in self._table.execute(_PLACES):
                if place.startswith(last + b"\0") and (not twice or twice[-1] != last):
                    twice.append(last)
                last = place
            change = "update objects set place = ? where place = ?"
            self._table.executemany(change, ((place + b"%", place) for place in twice))
            sums = "select count(*), coalesce(sum(size), 0) from objects where is_there"
            self.objects, self.size_bytes = self._table.execute(sums).fetchone()

    def read(self) -> Iterator[tuple[bytes, Listed]]:
        """Path and object, by path."""
        with _telling():
            for place, *rest in self._table.execute(f"{_READ} order by place"):
                yield place.replace(b"\0", b"/"), Listed(*rest)


@contextmanager
def ordered(scratch: str) -> Iterator[Order]:
    """An empty table."""
    with _telling():
        handle, path = tempfile.mkstemp(dir=scratch)
        os.close(handle)
        try:
            # A group opens its sources in threads, and reads them in another one: one at a time.
            table = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            table.execute("pragma journal_mode = off")
            table.execute("pragma synchronous = off")
            table.execute(_TABLE)
            table.execute("begin")  # one transaction, never to be committed
        finally:
            os.unlink(path)
    with closing(table):
        yield Order(table)


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise SourceError(
            f"the listing cannot be kept: {error}",
            hint="make room in the state directory, or point DRCTL_STATE_DIR to a larger disk",
        ) from error
