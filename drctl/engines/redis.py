"""Redis: a running server's data as it stands at one instant, taken as a replica takes it.

The server forks and its child writes the dump, so writers are not held up. The dump goes to the
scratch directory as fast as the network allows, since the server keeps changed pages twice for as
long as the child lives; there redis-check-rdb reads it whole before a byte of it is stored.
"""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from drctl.engines.base import Engine, PlainItem, Surroundings
from drctl.engines.redis_check import Dump, check
from drctl.engines.redis_client import Connection, Place, Refused, refused
from drctl.engines.redis_probe import MARKER, Probe
from drctl.engines.redis_target import DUMP, hollow, target
from drctl.engines.tree_look import reason
from drctl.engines.values import Flag, Host, Period, Port, SecretRef
from drctl.errors import SourceError
from drctl.model import Entry, Kind
from drctl.units import parse_duration

_EARLIER_NS = 2_000_000_000  # a dump this much older was begun for another
_LOOK_SECONDS = 0.01


class Settings(BaseModel):
    """What the plan says under `redis`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Host = Field(
        default="127.0.0.1",
        min_length=1,
        description="Its address; its Unix socket when it begins with /.",
    )
    port: Port = Field(default=6379, description="Its port.")
    user: str = Field(default="", description="Whom drctl logs in as; empty: the default user.")
    password: SecretRef | None = Field(default=None, description="Where the password lies.")
    tls: Flag = Field(default=False, description="Encrypt the connection and check the server.")
    tls_ca: str = Field(default="", description="Authorities to trust; empty: the system's.")
    tls_certificate: str = Field(default="", description="Our certificate, if it asks for one.")
    tls_key: str = Field(default="", description="The key of our certificate.")
    mark: Flag = Field(default=False, description="Write a marker key, to measure freshness by.")
    timeout: Period = Field(default="60s", description="Silence of the server that is a failure.")


def connect(settings: Settings, around: Surroundings) -> tuple[Connection, Place]:
    """Log in. Raises SourceError, KeyUnavailable."""
    place = Place(
        settings.host,
        settings.port,
        settings.user,
        around.secret(settings.password) if settings.password else "",
        _tls(settings, around) if settings.tls else None,
        parse_duration(settings.timeout),
    )
    return Connection(place), place


def _tls(settings: Settings, around: Surroundings) -> ssl.SSLContext:
    def path(name: str) -> str | None:
        return os.path.join(around.base, name) if name else None

    try:
        context = ssl.create_default_context(cafile=path(settings.tls_ca))
        certificate = path(settings.tls_certificate)
        if certificate:
            context.load_cert_chain(certificate, path(settings.tls_key))
    except OSError as error:
        raise SourceError(
            f"the certificates for {settings.host}: {reason(error)}",
            hint="look at 'tls_ca', 'tls_certificate' and 'tls_key' in the plan",
        ) from error
    return context


class _Fork(Struct, frozen=True):
    """What was learnt on the way to a dump. The server forked after `after_ns`, unless it hands us
    what it had begun for another: `is_ours` is False then, None where an old server does not tell.
    `ahead_ns`: the server's clock minus ours."""

    after_ns: int
    is_ours: bool | None
    ahead_ns: int
    version: str
    appendonly: bool


class Source:
    """Takes a dump into the scratch directory and proves it; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        path = os.path.join(self._around.scratch, f"{self._asset}.redis-dump")
        _remove(path)  # what a killed run left
        try:
            fork = self._take(path)
            dump = check(path, self._asset, SourceError)
            yield _Capture(path, fork, dump)
        finally:
            _remove(path)

    def _take(self, path: str) -> _Fork:
        connection, place = connect(self._settings, self._around)
        with connection, Connection(place) as watch:
            try:
                fork = self._fork(connection, watch)
                self._receive(connection, path)
            except Refused as error:
                raise refused(place, "take a dump", error) from error
        return fork

    def _fork(self, server: Connection, watch: Connection) -> _Fork:
        """Become a replica that wants the dump alone.

        With no other ability than `eof` a server does not hand us a dump that it began earlier for
        a real replica; `rdb-only` spares it from keeping what is written meanwhile.
        """
        version = server.info("server").get("redis_version", "")
        appendonly = server.info("persistence").get("aof_enabled") == "1"
        ahead_ns = self._compare_clocks(server)
        server.call("REPLCONF", "capa", "eof")
        with suppress(Refused):  # unknown before Redis 7
            server.call("REPLCONF", "rdb-only", 1)
        after_ns, is_ours = self._watch_fork(server, watch)
        return _Fork(after_ns, is_ours, ahead_ns, version, appendonly)

    def _watch_fork(self, server: Connection, watch: Connection) -> tuple[int, bool | None]:
        """The server may take its time before it forks. It is asked again and again how often it
        has: it held its data still after the last time that it had not yet."""
        now_ns = self._around.clock.now_ns
        after_ns, before = now_ns(), watch.info("stats").get("total_forks")
        server.send("PSYNC", "?", -1)
        while not (answer := server.line_within(_LOOK_SECONDS)):
            asked_ns = now_ns()
            if watch.info("stats").get("total_forks") == before and before is not None:
                after_ns = asked_ns
        if answer.startswith(b"-"):
            raise Refused(answer[1:].decode("utf-8", "backslashreplace"))
        if not answer.startswith(b"+FULLRESYNC"):
            raise SourceError(
                f"{self._asset}: the server gives no dump: {answer!r:.100}",
                hint="drctl takes a dump as a replica does: is 'host' a Redis server itself?",
            )
        forks = watch.info("stats").get("total_forks")
        return after_ns, None if before is None else forks != before

    def _compare_clocks(self, server: Connection) -> int:
        """How far the server's clock is ahead of ours."""
        asked_ns = self._around.clock.now_ns()
        told = server.call("TIME")
        took_ns = max(0, self._around.clock.now_ns() - asked_ns)
        if not isinstance(told, list) or len(told) != 2:
            return 0
        seconds, micros = (int(part) for part in told if isinstance(part, bytes))
        return seconds * 10**9 + micros * 1000 - asked_ns - took_ns // 2

    def _receive(self, server: Connection, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(path, flags, 0o600), "wb", buffering=0) as file:
                server.receive(file)
        except OSError as error:
            raise SourceError(
                f"{self._asset}: the dump cannot be written to {self._around.scratch}: "
                f"{reason(error)}",
                hint="make room there, or point DRCTL_STATE_DIR to a larger disk",
            ) from error


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


class _Capture:
    """A proven dump, one entry; see engines.base.Capture."""

    def __init__(self, path: str, fork: _Fork, dump: Dump) -> None:
        self._path = path
        self.consistent_at_ns = _instant(fork, dump)
        self.facts = {
            "redis": fork.version,
            "appendonly": "yes" if fork.appendonly else "no",
            "repl_offset": dump.aux.get("repl-offset", ""),
            "expiring_keys": str(dump.expiring),
        }
        self.private_facts = {
            "counts": json.dumps(dump.counts),
            "appendonly": self.facts["appendonly"],
            "redis": fork.version,
        }

    def items(self) -> Iterator[PlainItem]:
        found = os.stat(self._path)
        owner = os.geteuid(), os.getegid()
        entry = Entry(DUMP, int(Kind.FILE), 0o600, *owner, self.consistent_at_ns, found.st_size)
        yield PlainItem(entry, _Content(self._path))


def _instant(fork: _Fork, dump: Dump) -> int:
    """When the server forked, and never later. A dump that was begun for another holds what was
    there then, by the second that it names itself; its child may have come to that a little late.
    """
    named_ns = (int(dump.aux.get("ctime", "0")) - 1) * 10**9 - fork.ahead_ns
    is_ours = fork.is_ours
    if is_ours is None:
        is_ours = named_ns + _EARLIER_NS > fork.after_ns
    return fork.after_ns if is_ours else min(named_ns, fork.after_ns)


class _Content:
    """The dump, cut by content: keys keep their order from one dump to the next."""

    block_bytes = 0
    size_hint = -1

    def __init__(self, path: str) -> None:
        self._path = path

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        stream = self.stream(entry)
        return entry, b"".join(stream)

    def stream(self, entry: Entry) -> "_Pieces":
        return _Pieces(self._path, entry)


class _Pieces:
    """See engines.base.Stream. The dump is ours: nobody else changes it."""

    def __init__(self, path: str, entry: Entry) -> None:
        self._path = path
        self.entry = replace(entry)

    def __iter__(self) -> Iterator[bytes]:
        with open(self._path, "rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                yield piece


class Marker:
    """One key in database 0; see engines.base.Marker."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._around = around

    def write(self, at_ns: int) -> None:
        connection, place = connect(self._settings, self._around)
        with connection:
            try:
                connection.call("SET", MARKER, at_ns)
            except Refused as error:
                raise refused(place, f"write {MARKER}", error) from error


ENGINE = Engine(
    "redis", Settings, Source, target, Probe, Marker, hollow=hollow, copies_at_once=True
)
