"""What `drctl demo` protects: a directory tree, and a SQLite database that is being written to."""

import hashlib
import os
import random
import sqlite3
import sys
import time
from contextlib import closing

from drctl.engines.bound import begin

_WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
database.execute("pragma journal_mode=wal")
database.execute("create table if not exists orders (id integer primary key, at_ns integer)")
while True:
    database.execute("insert into orders (at_ns) values (?)", (time.time_ns(),))
    time.sleep(0.002)
"""


class Load:
    """A process of its own that commits some hundred rows a second."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._process = begin([sys.executable, "-c", _WRITER, database])

    def wait_for_rows(self, least: int, most_seconds: float = 30.0) -> int:
        """How many rows there are, once there are at least so many."""
        deadline = time.monotonic() + most_seconds
        while time.monotonic() < deadline:
            rows = count_rows(self._database)
            if rows >= least:
                return rows
            time.sleep(0.05)
        raise TimeoutError(f"the load made no {least} rows within {most_seconds:.0f} s")

    def end(self) -> None:
        """kill -9: what it committed must still be there."""
        self._process.kill()
        self._process.wait()


def count_rows(database: str) -> int:
    """Committed rows of the load; 0 before there is a table."""
    if not os.path.exists(database):
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return int(connection.execute("select count(*) from orders").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def rows_until(database: str, at_ns: int) -> int:
    """Rows that were committed before an instant, or in it."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        query = "select count(*) from orders where at_ns <= ?"
        return int(connection.execute(query, (at_ns,)).fetchone()[0])


def make_tree(top: str, seed: int = 1) -> None:
    """Some hundred files and what makes trees hard: links, holes, odd names, odd times."""
    chance = random.Random(seed)  # noqa: S311 - data to back up, not a secret
    for folder in range(20):
        path = os.path.join(top, f"folder-{folder:02d}")
        os.makedirs(path)
        for number in range(25):
            with open(os.path.join(path, f"file-{number:02d}.bin"), "wb") as file:
                file.write(chance.randbytes(chance.randrange(20_000)))
    with open(os.path.join(top, "large.bin"), "wb") as file:
        file.write(chance.randbytes(8 << 20))
        file.truncate(64 << 20)
    os.symlink("large.bin", os.path.join(top, "link"))
    os.link(os.path.join(top, "large.bin"), os.path.join(top, "second-name"))
    odd = os.path.join(os.fsencode(top), b"not-utf8-\xff")
    with open(odd, "wb") as file:
        file.write(b"odd")
    os.utime(odd, ns=(-(10**18), -(10**18)))


def fingerprint(top: str) -> str:
    """SHA-256 over every path below, its kind, mode, times, size and content."""
    total = hashlib.sha256()
    for folder, directories, names in os.walk(os.fsencode(top)):
        directories.sort()
        for name in sorted((*directories, *names)):
            path = os.path.join(folder, name)
            found = os.lstat(path)
            size = 0 if os.path.isdir(path) else found.st_size
            fields = (os.path.relpath(path, os.fsencode(top)), found.st_mode, size)
            total.update(repr((*fields, found.st_mtime_ns, found.st_nlink)).encode())
            total.update(_content(path))
    return total.hexdigest()


def _content(path: bytes) -> bytes:
    if os.path.islink(path):
        return os.readlink(path)
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
