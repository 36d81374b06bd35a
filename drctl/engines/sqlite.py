"""SQLite: a copy made with the database's own backup, checked before it is kept.

Source: https://www.sqlite.org/backup.html. The whole copy is one step (`pages=-1`): with a page
count it starts again at every write, and may never end. The source is opened read-only, never
checkpointed. Writers in WAL mode are not held up; in rollback mode they wait while it copies.
"""

import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from pydantic import BaseModel, ConfigDict, Field, field_validator

from drctl.engines import sqlite_mark
from drctl.engines.base import Engine, Health, PlainItem, Surroundings
from drctl.engines.single import SingleTarget
from drctl.engines.tree_look import reason
from drctl.engines.unfinished import refuse_to_save
from drctl.engines.values import Flag, PlanPath
from drctl.errors import IntegrityError, SourceError, TargetRefused
from drctl.events import Notice
from drctl.model import Entry, Kind
from drctl.units import parse_duration, show_path

_BLOCK_BYTES = 32 * 1024  # a multiple of every page size up to it; larger pages are two blocks
_BESIDE = ("-wal", "-shm", "-journal")  # what belongs to a database, beside it
_ROOM = 1.05  # of the database's size, for the copy
_OF_THE_COPY = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_TRUNCATE")
_TURN_SECONDS = 1.0  # for a question to end that was told to


class Settings(BaseModel):
    """What the plan says under `sqlite`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: PlanPath = Field(min_length=1, description="The database file.")
    timeout: str = Field(default="30s", description="How long to wait for a lock, such as 30s.")
    mark: Flag = Field(default=False, description="Write a marker row, to measure freshness by.")

    @field_validator("timeout")
    @classmethod
    def _timeout(cls, text: str) -> str:
        parse_duration(text)
        return text


class Source:
    """Copies the database into the scratch directory and reads the copy."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._path = os.path.join(around.base, settings.path)
        self._wait_seconds = parse_duration(settings.timeout)
        self._asset = asset
        self._around = around
        self._counts: dict[str, int] = {}

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        copy = os.path.join(self._around.scratch, f"{self._asset}.sqlite-copy")
        try:
            found = self._look(copy)
            consistent_at_ns = self._around.clock.now_ns()
            facts = self._copy(copy)
            yield _Capture(self._path, copy, found, consistent_at_ns, facts, self._counts)
        finally:
            remove_database(copy)

    def _look(self, copy: str) -> os.stat_result:
        """Is there a database, and room for its copy? Also clears what a killed run left."""
        remove_database(copy)
        refuse_to_save(self._asset, os.fsencode(self._path))
        try:
            found = os.stat(self._path)
            with open(self._path, "rb"):
                pass
            free = shutil.disk_usage(self._around.scratch).free
        except OSError as error:
            raise SourceError(
                f"{self._asset}: {self._path}: {reason(error)}", hint="is 'path' right?"
            ) from error
        if free < found.st_size * _ROOM:
            raise SourceError(
                f"{self._asset}: the copy needs {found.st_size} bytes, "
                f"{self._around.scratch} has {free}",
                hint="make room there, or point DRCTL_STATE_DIR to a larger disk",
            )
        return found

    def _copy(self, copy: str) -> dict[str, str]:
        """The state that is copied is not older than this call: the backup's one step reads in a
        single transaction, which begins after it."""
        descriptor = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        try:
            with closing(self._connect()) as source, closing(sqlite3.connect(copy)) as into:
                deadline = time.monotonic() + self._wait_seconds
                source.execute("select count(*) from sqlite_master").fetchone()
                source.backup(into, pages=-1, sleep=0.05, progress=_until(deadline))
            return self._check(copy)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _connect(self) -> sqlite3.Connection:
        where = sqlite_mark.uri(self._path, "mode=ro")
        return sqlite3.connect(where, uri=True, timeout=self._wait_seconds)

    def _check(self, copy: str) -> dict[str, str]:
        with closing(_open_still(copy)) as database:
            found = integrity(database)
            if found:
                raise SourceError(
                    f"{self._asset}: {self._path} is corrupt: {found}",
                    hint="nothing was kept, and earlier snapshots stay; repair the database",
                )
            foreign = self._judge_references(database)
            self._counts = rows_by_table(database)
            return {**_measure(database), "foreign_key_violations": foreign}

    def _judge_references(self, database: sqlite3.Connection) -> str:
        """How many rows break a foreign key; empty where SQLite cannot tell."""
        try:
            found = database.execute("select count(*) from pragma_foreign_key_check").fetchone()[0]
        except sqlite3.OperationalError as error:  # a key that fits no index, or needs a module
            what, found = f"its foreign keys cannot be checked: {error}", ""
        else:
            what = f"{found} rows break a foreign key" if found else ""
        if what:
            self._around.report.emit(Notice("warning", f"{self._asset}: {what}"))
        return str(found)

    def _error(self, error: sqlite3.Error) -> SourceError:
        code = getattr(error, "sqlite_errorname", "")
        hint = "nothing was kept; look at the database with sqlite3"
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in str(error):
            hint = "a program holds it locked: raise 'timeout', or end that program's transaction"
        if code.startswith("SQLITE_NOTADB"):
            hint = "it is encrypted, or another kind of file"
        if code in _OF_THE_COPY:  # nothing is ever written to the database itself
            where = f"{self._path}: its copy cannot be written to {self._around.scratch}"
            hint = "make room there, or point DRCTL_STATE_DIR to a larger disk"
            return SourceError(f"{self._asset}: {where}: {error}", hint=hint)
        return SourceError(f"{self._asset}: {self._path}: {error}", hint=hint)


def _until(deadline: float) -> Callable[[int, int, int], None]:
    """The backup asks again for ever while the database is locked: this ends it. It is called
    after the step that copied all, too, which takes as long as it takes."""

    def progress(status: int, _remaining: int, _total: int) -> None:
        if status != sqlite3.SQLITE_DONE and time.monotonic() > deadline:
            raise sqlite3.OperationalError("the database stays locked")

    return progress


def _open_still(path: str) -> sqlite3.Connection:
    """A database that nobody else has open: nothing is made beside it, not even for WAL mode."""
    return sqlite3.connect(sqlite_mark.uri(path, "mode=ro&immutable=1"), uri=True)


def integrity(database: sqlite3.Connection) -> str:
    """The first thing that is wrong with a database; empty when nothing is."""
    rows = database.execute("pragma integrity_check(1)").fetchall()
    first = str(rows[0][0]) if rows else "integrity_check said nothing"
    return "" if first == "ok" else first


def _measure(database: sqlite3.Connection) -> dict[str, str]:
    def one(query: str) -> str:
        return str(database.execute(query).fetchone()[0])

    return {
        "page_size": one("pragma page_size"),
        "page_count": one("pragma page_count"),
        "user_version": one("pragma user_version"),
        "tables": one("select count(*) from sqlite_master where type = 'table'"),
        "sqlite": sqlite3.sqlite_version,
    }


def remove_database(path: str) -> None:
    """A database file and what stands beside it."""
    for suffix in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)


class _Capture:
    """The copy, one entry with the metadata of the database file."""

    def __init__(
        self,
        path: str,
        copy: str,
        found: os.stat_result,
        consistent_at_ns: int,
        facts: dict[str, str],
        counts: dict[str, int],
    ) -> None:
        self.consistent_at_ns = consistent_at_ns
        self.facts = facts
        self.private_facts = {"path": show_path(os.fsencode(path)), "counts": json.dumps(counts)}
        self._copy = copy
        self._entry = Entry(
            os.fsencode(os.path.basename(path)),
            int(Kind.FILE),
            found.st_mode & 0o7777,
            found.st_uid,
            found.st_gid,
            found.st_mtime_ns,
            os.stat(copy).st_size,
        )

    def items(self) -> Iterator[PlainItem]:
        yield PlainItem(self._entry, _Content(self._copy, self._entry.size))


class _Content:
    """The copy, cut in blocks so that a changed page costs one block."""

    block_bytes = _BLOCK_BYTES

    def __init__(self, copy: str, size: int) -> None:
        self._copy = copy
        self.size_hint = -1 if size else 0

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        return entry, b"".join(self.stream(entry))

    def stream(self, entry: Entry) -> "_Pages":
        return _Pages(self._copy, entry)


class _Pages:
    """See engines.base.Stream. The copy is ours: nobody else changes it."""

    def __init__(self, copy: str, entry: Entry) -> None:
        self._copy = copy
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        with open(self._copy, "rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                yield piece


def target(
    _: Settings | None, to: str, _facts: dict[str, str], _around: Surroundings
) -> SingleTarget:
    """Restores the database as the file, or into the directory, `to`, and checks it first."""
    return _DatabaseTarget(to)


class _DatabaseTarget(SingleTarget):
    """A file that must be a whole database before it gets its name."""

    def __init__(self, to: str) -> None:
        super().__init__(to, self._prove, _BESIDE)

    def _prove(self, partial: str) -> None:
        try:
            with closing(_open_still(partial)) as database:
                found = integrity(database)
        except sqlite3.Error as error:
            found = str(error)
        if found:
            raise IntegrityError(f"{self.path}: the restored database is not whole: {found}")
        # A log of the database that stood here before would be played into ours; and it is all that
        # is left of what was committed last.
        self.refuse_existing(self.path)


def hollow(_settings: Settings, at: str, _around: Surroundings) -> None:
    """An empty database: it opens, is whole, and holds nothing."""
    with closing(sqlite3.connect(at)) as database:
        database.execute("vacuum")


class Probe:
    """Opens the restored database; see engines.base.Probe."""

    def __init__(self, settings: Settings, at: str, _around: Surroundings) -> None:
        name = os.path.basename(settings.path)
        self._path = os.path.join(at, name) if os.path.isdir(at) else at

    @contextmanager
    def open(self) -> Iterator["_Standing"]:
        try:
            where = sqlite_mark.uri(self._path, "mode=ro")
            # Whoever asks takes turns, in whatever thread; see engines.base.Standing.
            database = sqlite3.connect(where, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise TargetRefused(f"{self._path}: {error}") from error
        standing = _Standing(self._path, database)
        try:
            standing.query("select count(*) from sqlite_master")
            yield standing
        finally:
            standing.close()


class _Standing:
    """An open database; see engines.base.Standing."""

    def __init__(self, path: str, database: sqlite3.Connection) -> None:
        self._path = path
        self._database = database
        self._turn = threading.Lock()

    def close(self) -> None:
        """One that is still asked, and heeds no interrupt, stays open until drctl ends: to close
        it under a question ends the process."""
        if self._turn.acquire(timeout=_TURN_SECONDS):
            self._database.close()
            self._turn.release()

    @contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        if not self._turn.acquire(timeout=_TURN_SECONDS):
            raise TargetRefused(f"{self._path}: the question before does not end")
        try:
            yield self._database
        except sqlite3.Error as error:
            raise TargetRefused(f"{self._path}: {error}") from error
        finally:
            self._turn.release()

    def health(self) -> Health:
        with self._asking() as database:
            found = integrity(database)
            return Health(not found, found or "integrity_check: ok")

    def counts(self) -> dict[str, int]:
        with self._asking() as database:
            return rows_by_table(database)

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        with self._asking() as database:
            rows = database.execute(sql).fetchall()
        return tuple(tuple("" if value is None else str(value) for value in row) for row in rows)

    def newest_mark_ns(self) -> int | None:
        with self._asking() as database:
            return sqlite_mark.newest(database)

    def interrupt(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it is closed: nothing is asked
            self._database.interrupt()


def rows_by_table(database: sqlite3.Connection) -> dict[str, int]:
    """`rows.<table>` -> count. Table names are data here, so they are quoted as SQL wants. What a
    module shows that is not here is left out: the rows are in other tables."""
    tables = database.execute(
        "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
    ).fetchall()
    counts = {}
    for (name,) in tables:
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            row = database.execute(f"select count(*) from {quoted}").fetchone()  # noqa: S608
        except sqlite3.OperationalError as error:
            if not str(error).startswith("no such module"):
                raise
        else:
            counts[f"rows.{name}"] = row[0]
    return counts


ENGINE = Engine(
    "sqlite",
    Settings,
    Source,
    target,
    Probe,
    sqlite_mark.Marker,
    hollow=hollow,
    beside=_BESIDE,
    copies_at_once=True,
)
