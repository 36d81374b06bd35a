"""Binlogs into a private server: `mariadb-binlog FILES | mariadb`, in which the status of each
counts.

A statement that ended half way at the source (`drop user here, nowhere`) is in the binlog with its
error, and a replica is to meet the same error. MariaDB's client knows nothing of that: it stops at
each error, or at none. So where there are such statements it goes on, all in one session, and is
told where each of their transactions begins and ends; what it says is judged by that.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress

from msgspec import Struct, field

from drctl.engines.child import Child, exit_words, running
from drctl.engines.mariadb_alike import Alike, bear_with_memory, complete
from drctl.engines.mariadb_binlog import Group
from drctl.engines.mariadb_client import CLIENT, program
from drctl.engines.mariadb_invoker import Invoked, on_behalf
from drctl.engines.mariadb_orphans import left_behind
from drctl.engines.mariadb_server import Private, explain, private_server
from drctl.errors import IntegrityError, TargetRefused
from drctl.events import Notice, Reporter

PACKAGE = "mariadb-client"
BINLOG = ("mariadb-binlog", "mysqlbinlog")
_LOOK_SECONDS = 0.2
_ERROR = re.compile(r"ERROR (\d+) ")
_MARK = re.compile(r"ERROR 1644 \(45000\).*: drctl: part (\d+)$")
_STOPS = "signal sqlstate '45000' set message_text = 'drctl: part {}';\n"


class Way(Struct):
    """What is to be replayed: the files here, where in the first it begins, where in the last it
    stops. `last` is the last transaction of it; `apart` are those with errors, and those for which
    it matters who ran them, each with the number of its file."""

    files: list[str]
    begin: int
    end: int
    transactions: int = 0
    last: Group | None = None
    is_short: bool = False  # the log ends before the time that was asked for
    apart: list[tuple[int, Group]] = field(default_factory=list)


class Lacking(Struct, frozen=True):
    """An error that a statement ended with at the source, and did not end with here."""

    gtid: str
    code: int


class Poured(Struct, frozen=True):
    """`by_others`: what could not be done by whom it was done at the source, by their GTIDs.
    `orphans`: events and routines that are the passing account's."""

    lacking: list[Lacking]
    by_others: set[str]
    orphans: list[str]


class _Part(Struct, frozen=True):
    """A stretch of the way. `apart`: it is this transaction alone."""

    files: list[str]
    begin: int
    end: int
    apart: Group | None = None

    @property
    def errors(self) -> tuple[int, ...]:
        return self.apart.errors if self.apart else ()


def pour(datadir: str, way: Way, alike: Alike, report: Reporter) -> Poured:
    """From one server's start to its clean end. Raises IntegrityError, TargetRefused."""
    reader = program(*BINLOG, package=PACKAGE, error=TargetRefused)
    client = program(*CLIENT, package=PACKAGE, error=TargetRefused)
    judge = _Judge(list(_parts(way)))
    # What the source took is not refused here, however strict its sessions were.
    options = ("--innodb-flush-log-at-trx-commit=2", "--innodb-strict-mode=OFF", *alike.options)
    with private_server(datadir, options, takes_in=True, alike=alike) as server:
        _complete(server, alike, report)
        _feed(reader, client, server, judge)
        by_others, orphans = left_behind(server)
        server.drop_account()
        server.stop()
    return Poured(judge.lacking(), by_others, orphans)


def _complete(server: Private, alike: Alike, report: Reporter) -> None:
    """Raises TargetRefused."""
    import pymysql

    try:
        with server.connect() as connection:
            lacking = complete(connection, alike)
            in_memory = bear_with_memory(connection)
    except pymysql.MySQLError as error:
        raise TargetRefused(f"the private server cannot be asked: {explain(error)}") from error
    if in_memory:
        what = (
            f"{', '.join(in_memory)}: of tables in memory a base has no rows, and none come back; "
            "so where the log changes a row that is not there, in whatever table, it is passed over"
        )
        report.emit(Notice("warning", what))
    for one in lacking:
        what = (
            f"the source has the plugin {one.name} ({one.library}), which is not here: the log "
            f"ends where it needs it, or a table comes back in another engine; "
            f"run: apt-get install {one.package}"
        )
        report.emit(Notice("warning", what))


def _parts(way: Way) -> Iterator[_Part]:
    """Each transaction that is apart is a part of its own."""
    number, at = 0, way.begin
    for its_number, group in way.apart:
        if (number, at) != (its_number, group.begin):
            yield _Part(way.files[number : its_number + 1], at, group.begin)
        yield _Part([way.files[its_number]], group.begin, group.end, group)
        number, at = its_number, group.end
    if (number, at) != (len(way.files) - 1, way.end):
        yield _Part(way.files[number:], at, way.end)


class _Judge:
    """Hears the client: which errors come in which part."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts
        self.goes_on = any(part.errors for part in parts)
        self.stranger = ""  # an error that is none of the source's
        self._awaited = [[*part.errors] for part in parts] + [[]]
        self._now = 0

    def hear(self, line: str) -> None:
        if mark := _MARK.match(line):
            self._now = int(mark[1])
        elif error := _ERROR.match(line):
            awaited = self._awaited[self._now]
            if int(error[1]) in awaited:
                awaited.remove(int(error[1]))
            else:
                self.stranger = self.stranger or line

    @property
    def is_through(self) -> bool:
        """It goes on after errors, and has come to the end. Its status is that of its last one."""
        return self.goes_on and self._now == len(self.parts)

    def lacking(self) -> list[Lacking]:
        """What was waited for in vain."""
        both = zip(self.parts, self._awaited, strict=False)  # nothing is awaited behind the last
        return [Lacking(p.apart.gtid, code) for p, codes in both for code in codes if p.apart]


def _feed(reader: str, client: str, server: Private, judge: _Judge) -> None:
    """One client takes all parts: what a session holds, such as temporary tables, goes through."""
    take = (client, *server.client_words, "--binary-mode", *["--force"][: judge.goes_on])
    with running(take, stdin=subprocess.PIPE, listener=judge.hear) as done:
        gave, words = 0, ""
        for number, part in enumerate(judge.parts):
            _mark(done, number, judge)
            gave, words = _give(reader, part, done, judge, server.account)
            if gave or judge.stranger:
                break
        _mark(done, len(judge.parts), judge)
        with suppress(BrokenPipeError):
            done.input.close()
        took = None if judge.stranger else done.wait()
    if judge.stranger:
        raise _failed("mariadb met an error that the source did not meet", judge.stranger)
    if took and not judge.is_through:
        raise _failed(f"mariadb {exit_words(took)}", done.words)
    if gave:
        raise _failed(f"mariadb-binlog {exit_words(gave)}", words)


def _mark(done: Child, number: int, judge: _Judge) -> None:
    """Said back as an error, in its place among the others."""
    if not judge.goes_on:
        return
    with suppress(BrokenPipeError):  # it has ended, and why is heard
        done.input.write(_STOPS.format(number).encode())
        done.input.flush()


def _give(reader: str, part: _Part, done: Child, judge: _Judge, passing: str) -> tuple[int, str]:
    """How the reading of a part ended, and its last words."""
    words = [f"--start-position={part.begin}", f"--stop-position={part.end}"]
    # What LOAD DATA took in statement format is put into files, which the program leaves behind.
    words.append(f"--local-load={os.path.dirname(part.files[0])}")
    give = (reader, "--no-defaults", "--verify-binlog-checksum", *words, *part.files)
    if part.apart and part.apart.by:
        return _give_on_behalf(give, part.apart, part.apart.by, done, passing)
    with running(give, stdout=done.input) as said:
        while not judge.stranger:
            with suppress(TimeoutError):
                return said.wait(_LOOK_SECONDS), said.words
    return 0, ""


def _give_on_behalf(
    give: tuple[str, ...], group: Group, by: Invoked, done: Child, passing: str
) -> tuple[int, str]:
    """One statement: it is small."""
    with running(give, stdout=subprocess.PIPE) as said:
        text = said.output.read()
        status = said.wait()
        words = said.words
    with suppress(BrokenPipeError):  # it has ended, and why is heard
        done.input.write(on_behalf(text, by, group.gtid, passing))
        done.input.flush()
    return status, words


def _failed(what: str, words: str) -> IntegrityError:
    return IntegrityError(
        f"replaying the binlog: {what}; it said:\n{words}",
        hint="what is there now is not the goal: remove it. --until immediate restores the "
        "snapshot alone, --at or --until gtid: up to before the trouble",
    )
