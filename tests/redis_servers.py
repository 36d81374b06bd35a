"""Real Redis servers for tests: each in a directory of its own, on a Unix socket or a port."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drctl.engines.child import find_program
from drctl.engines.redis_client import Answer, Connection, Place, Refused
from drctl.errors import SourceError

PASSWORD = "not in 'any' \\ list\""
GRANTS = "+ping +info +time +replconf +psync ~drctl:marker +set"


@dataclass(frozen=True)
class Redis:
    """A running server."""

    top: Path
    place: Place
    process: "subprocess.Popen[bytes]"

    @property
    def socket(self) -> str:
        return self.place.host

    def ask(self, *words: str | int | bytes, database: int = 0) -> Answer:
        with Connection(self.place) as connection:
            connection.call("SELECT", database)
            return connection.call(*words)

    def fill(self, keys: int = 5000) -> None:
        """Of every kind, in two databases; some expire."""
        with Connection(self.place) as connection:
            for i in range(keys):
                connection.send("SET", f"key:{i}", f"value {i} " * 5)
            for _ in range(keys):
                connection.line()
            connection.call("HSET", "hash", "field", "in the hash", "binary", b"\x00\xff\r\n")
            connection.call("RPUSH", "list", *range(500))
            connection.call("ZADD", "sorted", 1.5, "a", 2.5, "b")
            connection.call("SADD", "set", "x", "y")
            connection.call("XADD", "stream", "1-1", "k", "v")
            connection.call("SET", "passing", "gone soon", "EX", 10_000)
            connection.call("SELECT", 3)
            connection.call("SET", "in three", "3")

    def digest(self) -> Answer:
        """A hash over every key and value, by the server itself."""
        return self.ask("DEBUG", "DIGEST")


def _program(name: str) -> str:
    found = find_program(name)
    assert found, f"{name} is missing: run scripts/test"
    return found


@contextmanager
def started(*directives: str, directory: Path | None = None, port: int = 0) -> Iterator[Redis]:
    """A server; `directives` are lines of its configuration. Ended whatever happens."""
    top = Path(tempfile.mkdtemp(prefix="drctl-test-redis-"))
    data = directory or top
    lines = [f"port {port}", f"unixsocket {top}/socket", f"dir {data}", 'save ""',
             "enable-debug-command local", "repl-diskless-sync-delay 0", *directives]  # fmt: skip
    (top / "redis.conf").write_text("\n".join(lines) + "\n")
    argv = [_program("redis-server"), str(top / "redis.conf")]
    with (top / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        server = Redis(top, Place(f"{top}/socket", 0), process)
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(top, ignore_errors=True)  # who saves for it may not have ended yet


def _wait(server: Redis) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            server.ask("PING")
        except (SourceError, Refused) as error:
            if isinstance(error, Refused) and "NOAUTH" in str(error):
                return
            said = (server.top / "log").read_text(errors="replace")
            assert server.process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.02)
        else:
            return
