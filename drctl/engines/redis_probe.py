"""A restored Redis asked: does it come up, is it whole, how much and how fresh is it.

A server of our own is put up on the dump: a Unix socket in a private directory, no network, no
append-only file, nothing saved. Queries run as a user who may only read.
"""

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

from drctl.engines.base import Health, Surroundings
from drctl.engines.child import Child, exit_words, find_program, running
from drctl.engines.redis_check import check
from drctl.engines.redis_client import Answer, Connection, Place, Refused
from drctl.errors import SourceError, TargetRefused, UsageError
from drctl.private import passing_directory

MARKER = "drctl:marker"
_LOOK_SECONDS = 0.02
_START_SECONDS = 3600.0  # reading a large dump takes its time; an end is seen at once
_DIRECTIVES = (
    "port 0",
    "unixsocketperm 700",
    'save ""',
    "appendonly no",
    "dbfilename dump.rdb",
    "daemonize no",
    "user reader on nopass ~* &* +@read +select +dbsize -@dangerous +keys +info",
)


class Probe:
    """Puts the restored dump up; see engines.base.Probe."""

    def __init__(self, _: object, at: str, _around: Surroundings) -> None:
        self._at = os.path.realpath(at)

    @contextmanager
    def open(self) -> Iterator["_Standing"]:
        dump = os.path.join(self._at, "dump.rdb")
        if not os.path.isfile(dump):
            raise TargetRefused(f"{dump} is not there")
        program = find_program("redis-server")
        if program is None:
            raise TargetRefused(
                "redis-server is missing: nothing can be put up here",
                hint="on Debian: apt-get install redis-server",
            )
        try:
            with (
                passing_directory() as own,
                _server(program, self._at, own) as place,
                Connection(place) as connection,
            ):
                yield _Standing(dump, connection, place)
        except SourceError as error:
            raise TargetRefused(f"{self._at}: {error.what}") from error


@contextmanager
def _server(program: str, at: str, own: str) -> Iterator[Place]:
    """Its directives come through standard input, so nothing stands in its arguments."""
    socket = os.path.join(own, "socket")
    lines = (*_DIRECTIVES, f'unixsocket "{socket}"', f"dir {_quoted(at)}")
    read, write = os.pipe()
    try:
        os.write(write, "\n".join(lines).encode("utf-8", "surrogateescape") + b"\n")
    finally:
        os.close(write)
    with (
        open(read, "rb") as directives,
        open(os.path.join(own, "log"), "wb") as log,
        running((program, "-"), stdin=directives, stdout=log, cwd="/") as child,
    ):
        place = Place(socket, 0)
        _wait_until_up(place, child, os.path.join(own, "log"), at)
        yield place


def _quoted(path: str) -> str:
    """As the server's configuration reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _wait_until_up(place: Place, child: Child, log: str, at: str) -> None:
    """Until it has read the dump. Raises TargetRefused when it ends instead."""
    end = time.monotonic() + _START_SECONDS
    while child.poll() is None and time.monotonic() < end:
        try:
            with Connection(place) as connection:
                connection.call("PING")
        except (Refused, SourceError):  # it does not listen yet, or is LOADING
            time.sleep(_LOOK_SECONDS)
        else:
            return
    status = child.poll()
    with open(log, encoding="utf-8", errors="backslashreplace") as file:
        said = "\n".join(file.read().splitlines()[-10:])
    how = exit_words(status) if status is not None else "does not answer"
    raise TargetRefused(
        f"{at}: the server {how}; it said:\n{said}",
        hint="the restored files stay as they are; the repository is unharmed",
    )


class _Standing:
    """A private server; see engines.base.Standing."""

    def __init__(self, dump: str, connection: Connection, place: Place) -> None:
        self._dump = dump
        self._server = connection
        self._place = place
        self._reader: Connection | None = None

    def health(self) -> Health:
        """redis-check-rdb of the dump, and as many lasting keys in memory as it counts."""
        try:
            found = check(self._dump, self._dump, TargetRefused)
        except TargetRefused as error:
            return Health(False, error.what)
        there = self.counts()
        if there != found.counts:
            return Health(False, f"the server holds {there}, the dump {found.counts}")
        return Health(True, f"redis-check-rdb: whole; {sum(there.values())} keys that last")

    def counts(self) -> dict[str, int]:
        """`keys.db<N>`: keys that do not expire, since the others may have meanwhile."""
        counts = {}
        for database, told in self._server.info("keyspace").items():
            numbers = dict(part.split("=", 1) for part in told.split(",") if "=" in part)
            lasting = int(numbers.get("keys", 0)) - int(numbers.get("expires", 0))
            if lasting:
                counts[f"keys.{database}"] = lasting
        return counts

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        """A Redis command that only reads, such as `hget carts:7 total`."""
        try:
            words = shlex.split(sql)
        except ValueError as error:
            raise UsageError(f"'{sql}' does not read as a Redis command: {error}") from error
        if not words:
            raise UsageError("an empty query asks nothing")
        with Connection(self._place) as reader:
            self._reader = reader
            try:
                reader.call("AUTH", "reader", "-")
                return rows(reader.call(*words))
            except Refused as error:
                raise TargetRefused(f"the query was refused: {error}") from error

    def newest_mark_ns(self) -> int | None:
        told = self._server.call("GET", MARKER)
        return int(told) if isinstance(told, bytes) and told.isdigit() else None

    def interrupt(self) -> None:
        if self._reader is not None:
            self._reader.interrupt()


def rows(answer: Answer) -> tuple[tuple[str, ...], ...]:
    """An answer as rows of text: one of one value, or one a member of a list."""
    if isinstance(answer, list):
        return tuple(
            tuple(_text(part) for part in member) if isinstance(member, list) else (_text(member),)
            for member in answer
        )
    return ((_text(answer),),)


def _text(value: Answer) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return "" if value is None else str(value)
