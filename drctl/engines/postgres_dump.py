"""Logical dumps of a PostgreSQL server: one archive a database, and what all databases share.

`databases/<name>.dump` is pg_dump's custom format, not compressed, since the repository compresses
and deduplicates; `globals.sql` is roles and tablespaces. An archive counts when pg_dump ended with
status 0 and pg_restore, which reads all of it as it comes, did so, too.
"""

import glob
import os
import subprocess
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from drctl.engines.base import PlainItem, Surroundings
from drctl.engines.child import Child, exit_words, find_program, running
from drctl.engines.dumped import Output, cannot_run, file_entry, item, refuse_unproven
from drctl.engines.postgres_client import Client
from drctl.engines.postgres_databases import INVALID, Database, databases
from drctl.errors import SourceError
from drctl.events import Notice

if TYPE_CHECKING:
    import psycopg

DATABASES, GLOBALS = "databases", "globals.sql"
_TRAILER = b"-- PostgreSQL database cluster dump complete"
_SAFE = " +,@=~"  # beside letters, digits and `_.-`, what a database's name keeps in a file's name


class DumpSource:
    """Dumps every database; see engines.base.Source."""

    def __init__(self, client: Client, around: Surroundings) -> None:
        self._client = client
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        with self._client.connect() as sql:
            version = str(_one(sql, "show server_version"))
            major = int(_one(sql, "select current_setting('server_version_num')::int / 10000"))
            found = self._databases(sql)
        tools = _Tools(self._client, major, version)
        facts = {"postgres": version.split(" ", maxsplit=1)[0], "databases": str(len(found))}
        yield _Capture(tools, found, self._around, facts)

    def _databases(self, sql: "psycopg.Connection[Any]") -> list[Database]:
        found = databases(sql)
        for each in found:
            if each.unreadable:
                what = f"the database {each.name} is passed over: {each.unreadable}"
                self._around.report.emit(Notice("warning", f"{self._client.asset}: {what}"))
        return [each for each in found if not each.unreadable]


def _one(sql: "psycopg.Connection[Any]", query: str) -> Any:
    row = sql.execute(query.encode()).fetchone()
    assert row  # noqa: S101 - it always gives one
    return row[0]


class _Capture:
    """The dumps. Their beginning is the consistent point, so that they hold all that was committed
    before it; each database is of one moment. See engines.base.Capture."""

    def __init__(
        self,
        tools: "_Tools",
        found: Sequence[Database],
        around: Surroundings,
        facts: dict[str, str],
    ) -> None:
        self.consistent_at_ns = around.clock.now_ns()
        self.facts = facts
        self.private_facts = {"form": "dump", "postgres": facts["postgres"]}
        self._tools = tools
        self._databases = found
        self._around = around

    def items(self) -> Iterator[PlainItem]:
        """When the consumer asks for the next item, this one has proven itself."""
        for path, database in self._in_order():
            was_there = yield from self._tools.archive(database, path, self.consistent_at_ns)
            if not was_there:
                self._pass_over(database)
        yield from self._tools.shared(GLOBALS.encode(), self.consistent_at_ns)

    def _in_order(self) -> list[tuple[bytes, Database]]:
        files = ((_file_of(each.name), each) for each in self._databases)
        return sorted(files, key=lambda each: each[0])

    def _pass_over(self, database: Database) -> None:
        self.facts["databases"] = str(int(self.facts["databases"]) - 1)
        text = f"the database {database.name} was dropped meanwhile: it is not in the snapshot"
        self._around.report.emit(Notice("info", text))


def _file_of(name: str) -> bytes:
    return f"{DATABASES}/{quote(name, safe=_SAFE)}.dump".encode()


class _Tools:
    """PostgreSQL's programs, told how to log in by a password file that lies in memory alone."""

    def __init__(self, client: Client, major: int, version: str) -> None:
        self._client = client
        self._asset = client.asset
        self._places = _places(major)
        self._dump = self._find("pg_dump", major, version)
        self._restore = self._find("pg_restore", major, version)
        self._dump_all = self._find("pg_dumpall", major, version)

    def _find(self, name: str, major: int, version: str) -> str:
        """Of the server's version or a newer one: an older program refuses the server."""
        for place in self._places:
            path = os.path.join(place, name)
            if os.access(path, os.X_OK) and _major_of(path) >= major:
                return path
        found = find_program(name)
        own = f"{found} is of version {_major_of(found)}" if found else f"{name} is not here"
        raise SourceError(
            f"{self._asset}: {own}, and the server is {version}: it cannot be dumped",
            hint=f"run: apt-get install postgresql-client-{major}, or a newer one",
        )

    def archive(
        self, database: Database, path: bytes, now_ns: int
    ) -> Generator[PlainItem, None, bool]:
        """One database, read by pg_restore on its way. Gives whether it was there still."""
        options = ("--format=custom", "--compress=0", "--no-password")
        with (
            self._run(self._dump, options, database.name) as dump,
            self._reading() as (reader, feed),
        ):
            if self._is_gone(dump, database.number):
                return False
            output = Output(dump, file_entry(path, now_ns), _feeding(self._asset, reader, feed))
            yield item(output)
            feed.close()
            refuse_unproven(
                self._asset, f"pg_dump of {database.name}", dump, proven=True, lacking=""
            )
            refuse_unproven(self._asset, "pg_restore", reader, proven=True, lacking="")
        return True

    def _is_gone(self, dump: Child, number: int) -> bool:
        """Whether there was nothing to dump, since it is dropped, or about to be. One that bears
        another name now is there."""
        if cast("BufferedReader", dump.output).peek(1) or not dump.wait():
            return False
        query = f"select from pg_database where oid = %s and not {INVALID}"
        with self._client.connect() as sql:
            return sql.execute(query.encode(), (number,)).fetchone() is None

    @contextmanager
    def _reading(self) -> Iterator[tuple[Child, Any]]:
        """A pg_restore that makes SQL of all that it is given, for nobody."""
        take, give = os.pipe()
        with os.fdopen(take, "rb") as source, os.fdopen(give, "wb", buffering=0) as feed:
            argv = (self._restore, "--file=/dev/null")
            with running(argv, stdin=source) as reader:
                source.close()
                yield reader, feed

    def shared(self, path: bytes, now_ns: int) -> Iterator[PlainItem]:
        """Roles with their passwords' hashes, tablespaces, settings of both."""
        with self._run(self._dump_all, ("--globals-only", "--no-password"), "") as child:
            output = Output(child, file_entry(path, now_ns))
            yield item(output)
            refuse_unproven(
                self._asset,
                "pg_dumpall",
                child,
                proven=_TRAILER in output.tail,
                lacking=f"ended without the line '{_TRAILER.decode()}'",
            )

    @contextmanager
    def _run(self, tool: str, options: Sequence[str], name: str) -> Iterator[Child]:
        with self._login(name) as (descriptor, where):
            argv = (tool, *options, f"--dbname={where}")
            try:
                with running(argv, stdout=subprocess.PIPE, pass_fds=(descriptor,)) as child:
                    yield child
            except OSError as error:
                raise cannot_run(self._asset, tool, error) from error

    @contextmanager
    def _login(self, name: str) -> Iterator[tuple[int, str]]:
        """A descriptor to be handed on, and how to connect, without the password."""
        from psycopg.conninfo import make_conninfo

        given = self._client.parameters()
        password = str(given.pop("password", ""))
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        descriptor = os.memfd_create("drctl-passwords")
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, f"*:*:*:*:{escaped}\n".encode() if password else b"")
            given |= {"passfile": f"/dev/fd/{descriptor}", "dbname": name or given["dbname"]}
            yield descriptor, make_conninfo(**given)
        finally:
            os.close(descriptor)


def _feeding(asset: str, reader: Child, feed: Any) -> Any:
    """Gives pg_restore each piece; what it says when it takes no more is the reason."""

    def give(piece: bytes) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[feed.write(view) :]
        except BrokenPipeError as error:
            status = reader.wait()
            raise SourceError(
                f"{asset}: pg_restore cannot read what pg_dump wrote: it "
                f"{exit_words(status)}; it said:\n{reader.words}",
                hint="nothing was kept; are both programs of one version?",
            ) from error

    return give


def _places(major: int) -> tuple[str, ...]:
    """Where PostgreSQL's programs may be: as a person would call them, or where packages put
    them, the server's version first."""
    versions = sorted(
        (int(path.split("/")[-2].rpartition("-")[2]), path)
        for pattern in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")
        for path in glob.glob(pattern)
        if path.split("/")[-2].rpartition("-")[2].isdigit()
    )
    path = os.environ.get("PATH", "").split(os.pathsep)
    return (*filter(None, path), *(place for version, place in versions if version >= major))


def _major_of(path: str) -> int:
    """`pg_dump (PostgreSQL) 15.18 (Debian ...)` is 15."""
    with running((path, "--version"), stdout=subprocess.PIPE) as child:
        words = child.output.read(4096).decode("ascii", "replace").split()
        child.wait()
    digits = words[2].partition(".")[0] if len(words) > 2 else ""
    return int(digits) if digits.isdigit() else 0
