"""A logical dump: SQL that another version, or another machine, reads.

Two files: `databases.sql` is what people keep, all of one moment; `system.sql` is users and their
rights as portable statements. A dump counts when its program ended with status 0 and its last line
is the trailer; a dump that stops in the middle has none.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drctl.engines.base import PlainItem, Surroundings
from drctl.engines.child import Child, running
from drctl.engines.dumped import Output, cannot_run, file_entry, item, refuse_unproven
from drctl.engines.mariadb_client import Access, ask, program, program_version, series
from drctl.errors import SourceError
from drctl.events import Notice

if TYPE_CHECKING:
    from pymysql.connections import Connection

DUMP = ("mariadb-dump", "mysqldump")
PACKAGE = "mariadb-client"
DATABASES, SYSTEM = b"databases.sql", b"system.sql"
TRAILER = b"-- Dump completed"
_ALL = (
    "--single-transaction",
    "--quick",
    "--routines",
    "--events",
    "--triggers",
    "--hex-blob",
    "--master-data=2",
    "--default-character-set=utf8mb4",
    "--max-allowed-packet=1G",
)
_OWN = ("information_schema", "performance_schema", "mysql", "sys")
_RAW = "#mysql50#"  # of a directory's own name
_TO_SEE = ("SELECT", "TRIGGER")  # what may not be seen is left out of a dump without a word
_EVERYWHERE = re.compile(r"GRANT (.+) ON \*\.\* TO ")


class DumpSource:
    """Dumps every database; see engines.base.Source."""

    def __init__(self, access: Access, asset: str, around: Surroundings) -> None:
        self._access = access
        self._asset = asset
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        with self._access.connect() as server:
            version, has_binlog = (str(x) for x in ask(server, "select @@version, @@log_bin")[0])
            databases = _databases(server, self._asset)
            self._warn_of(_lacking(server))
        tool = self._tool(version)
        if not databases:
            raise SourceError(
                f"{self._asset}: {self._access.settings.shown} shows no database to dump",
                hint="grant what docs/engines/mariadb.md names",
            )
        facts = {"mariadb": version, "databases": str(len(databases))}
        dump = _Dump(self._access, self._asset, tool)
        options = tuple(x for x in _ALL if has_binlog == "1" or "master-data" not in x)
        yield _Capture(dump, (*options, "--databases", "--", *databases), self._around, facts)

    def _warn_of(self, lacking: list[str]) -> None:
        if lacking:
            what = (
                f"{self._asset}: without {' and '.join(lacking)} on *.* what this account may not "
                "see (databases, tables, triggers) is not in the dump"
            )
            self._around.report.emit(Notice("warning", what))

    def _tool(self, version: str) -> str:
        """An older program may leave out what it does not know of."""
        found = program(*DUMP, package=PACKAGE)
        own = program_version(found)
        if not own or series(own) < series(version):
            raise SourceError(
                f"{self._asset}: {found} is of version {own or 'unknown'}, the server of "
                f"{version}: an older program does not know all that is to be dumped",
                hint="install the client of the server's series, or a newer one",
            )
        return found


def _databases(server: "Connection[Any]", asset: str) -> list[str]:
    """What is to be dumped. A directory whose name is no database's, such as `lost+found`, is
    listed by that, and is none where it holds no table: a dump of it could not be loaded. Raises
    SourceError."""
    names = [str(row[0]) for row in ask(server, "show databases")]
    tables = "select distinct table_schema from information_schema.tables"
    raw = [str(row[0]) for row in ask(server, f"{tables} where table_schema like '{_RAW}%'")]
    if raw:
        raise SourceError(
            f"{asset}: {raw[0]} is a database of before MySQL 5.1: a dump of it cannot be loaded",
            hint=f"run: ALTER DATABASE `{raw[0]}` UPGRADE DATA DIRECTORY NAME",
        )
    return [name for name in names if name not in _OWN and not name.startswith(_RAW)]


def _lacking(server: "Connection[Any]") -> list[str]:
    """What this account may not do everywhere."""
    grants = [_EVERYWHERE.match(str(row[0])) for row in ask(server, "show grants")]
    held = {word.strip() for grant in grants if grant for word in grant[1].split(",")}
    return [] if "ALL PRIVILEGES" in held else [word for word in _TO_SEE if word not in held]


class _Capture:
    """The two dumps; their beginning is the consistent point, so that they hold all that was
    committed before it. See engines.base.Capture."""

    def __init__(
        self, dump: "_Dump", words: tuple[str, ...], around: Surroundings, facts: dict[str, str]
    ) -> None:
        self.consistent_at_ns = around.clock.now_ns()
        self.facts = facts
        self.private_facts = {"form": "dump", "mariadb": facts["mariadb"]}
        self._dump = dump
        self._words = words

    def items(self) -> Iterator[PlainItem]:
        yield from self._item(DATABASES, self._words)
        yield from self._item(SYSTEM, ("--system=users", "--insert-ignore"))

    def _item(self, name: bytes, words: tuple[str, ...]) -> Iterator[PlainItem]:
        """When the consumer asks for the next item, this one has proven itself."""
        with self._dump.begin(words) as child:
            output = Output(child, file_entry(name, self.consistent_at_ns))
            yield item(output)
            self._dump.conclude(child, output)


class _Dump:
    """The program that dumps, and how it proves that it did."""

    def __init__(self, access: Access, asset: str, tool: str) -> None:
        self._access = access
        self._asset = asset
        self._tool = tool

    @contextmanager
    def begin(self, words: tuple[str, ...]) -> Iterator[Child]:
        with self._access.option_file() as descriptor:
            argv = (self._tool, f"--defaults-file=/dev/fd/{descriptor}", *words)
            try:
                with running(argv, stdout=-1, pass_fds=(descriptor,)) as child:
                    yield child
            except OSError as error:
                raise cannot_run(self._asset, self._tool, error) from error

    def conclude(self, child: Child, output: Output) -> None:
        """Raises SourceError unless status and trailer are right."""
        refuse_unproven(
            self._asset,
            os.path.basename(self._tool),
            child,
            proven=TRAILER in output.tail,
            lacking=f"ended without the line '{TRAILER.decode()}'",
        )
