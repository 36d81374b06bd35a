"""What `drctl demo` protects and then kills: PostgreSQL and Redis, where they are installed.

None of it outlives drctl, however that ends.
"""

import glob
import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from drctl.engines.bound import begin
from drctl.engines.child import exit_words, find_program
from drctl.errors import SourceError

_PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_LEAST_ROWS = 100  # that the demo's check wants: the first backup holds them
_CONF = """
listen_addresses = ''
unix_socket_directories = '{sockets}'
shared_buffers = 16MB
max_wal_senders = 5
"""
_WRITER = """
import psycopg, sys, time
server = psycopg.connect(host=sys.argv[1], user="drctl", dbname="postgres", autocommit=True)
server.execute("create table sales (id integer primary key, at_ns bigint)")
number = 0
with open(sys.argv[2], "a") as log:
    while True:
        number += 1
        at_ns = time.time_ns()
        server.execute("insert into sales values (%s, %s)", (number, at_ns))
        print(at_ns, file=log, flush=True)
        time.sleep(0.005)
"""


def _identity() -> dict[str, Any]:
    """Who runs the servers: PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def postgres_programs() -> str | None:
    """The directory of the newest PostgreSQL's programs; None where there is none to start."""
    found = find_program("initdb")
    places = [os.path.dirname(os.path.realpath(found))] if found else []
    places += glob.glob("/usr/lib/postgresql/*/bin")
    has_user = os.geteuid() != 0 or any(user.pw_name == "postgres" for user in pwd.getpwall())
    whole = [p for p in places if os.access(os.path.join(p, "initdb"), os.X_OK)]
    return max(whole, key=_version, default=None) if has_user else None


def _version(programs: str) -> float:
    """/usr/lib/postgresql/15/bin is 15; what does not say comes last."""
    try:
        return float(programs.split("/")[-2])
    except ValueError:
        return 0.0


def redis_program() -> str | None:
    return find_program("redis-server")


class Postgres:
    """A server with a process that commits some hundred rows a second, and writes down which."""

    def __init__(self, programs: str, data: str, sockets: str, log: str) -> None:
        self._log, self._data = log, data
        who = _identity()
        for path in (data, sockets):
            os.makedirs(path, mode=0o700)
            if who:
                os.chown(path, who["user"], who["group"])
        make = [f"{programs}/initdb", "-D", data, "-U", "drctl", "-A", "trust", "--locale=C"]
        subprocess.run([*make, "-E", "UTF8"], check=True, capture_output=True, cwd="/", **who)
        with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(_CONF.format(sockets=sockets))
        self._server = begin(
            [f"{programs}/postgres", "-D", data],
            signal.SIGQUIT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            **who,
        )
        _wait_for(os.path.join(sockets, ".s.PGSQL.5432.lock"), self._server)
        self._writer = self._load(sockets)

    def _load(self, sockets: str) -> "subprocess.Popen[bytes]":
        """It may come a little too early."""
        argv = [sys.executable, "-c", _WRITER, sockets, self._log]
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            writer = begin(argv, stderr=subprocess.DEVNULL)
            while writer.poll() is None and time.monotonic() < deadline:
                if len(self.committed()) >= _LEAST_ROWS:
                    return writer
                time.sleep(_LOOK_SECONDS)
            if time.monotonic() > deadline:
                writer.kill()
                writer.wait()
                raise SourceError(
                    f"PostgreSQL took no {_LEAST_ROWS} rows within {_PATIENCE_SECONDS:.0f} s",
                    hint="run its 'postgres' by hand",
                )

    def committed(self) -> list[int]:
        """When each row was committed, by the load's own log."""
        with suppress(FileNotFoundError), open(self._log, encoding="utf-8") as file:
            return [int(line) for line in file if line.endswith("\n")]
        return []

    def end(self) -> None:
        """kill -9, of all of it at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        self._writer.kill()
        self._writer.wait()
        self._release_memory()

    def _release_memory(self) -> None:
        """A server that is killed leaves a segment of shared memory; its last line names it."""
        with suppress(OSError, IndexError):
            with open(os.path.join(self._data, "postmaster.pid"), encoding="utf-8") as file:
                segment = file.read().split("\n")[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], check=False, capture_output=True)


class Redis:
    """A server with a cart in it."""

    def __init__(self, program: str, data: str, socket: str) -> None:
        from drctl.engines.redis_client import Connection, Place

        os.makedirs(data, mode=0o700)
        argv = [program, "--port", "0", "--unixsocket", socket, "--dir", data, "--save", ""]
        self._server = begin(argv, stdout=subprocess.DEVNULL, start_new_session=True)
        _wait_for(socket, self._server)
        with Connection(Place(socket, 0)) as connection:
            connection.call("HSET", "cart:7", "total", 12)

    def end(self) -> None:
        """kill -9."""
        self._server.kill()
        self._server.wait()


def _wait_for(path: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not os.path.exists(path):
        status = server.poll()
        if status is not None or time.monotonic() > deadline:
            how = "does not listen" if status is None else exit_words(status)
            raise SourceError(
                f"a server for the demo does not come up: it {how}",
                hint="with --keep DIR its directory stays below DIR/live: start it there by hand",
            )
        time.sleep(_LOOK_SECONDS)
