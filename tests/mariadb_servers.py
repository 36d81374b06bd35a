"""Real MariaDB servers for tests: each in a directory of its own, on a Unix socket, with a writer
that logs what the server confirmed."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
import pytest
from small_plan import HEAD

from drctl.clock import SystemClock
from drctl.engines.base import Standing, Surroundings
from drctl.engines.child import find_program
from drctl.engines.mariadb import ENGINE, Settings
from drctl.events import Silent

PLAN = (
    HEAD
    + """\
  shop:
    mariadb: {{host: {socket}, user: drctl, password: file:password{more}}}
    schedule: hourly
"""
)
PASSWORD = "not in 'any' \\ list\""
GRANTS = (
    "create user drctl@localhost identified by %s",
    "grant reload, process, binlog monitor, replication slave on *.* to drctl@localhost",
    "grant select, show view, event, trigger, lock tables on *.* to drctl@localhost",
    "grant create, insert, select, delete on drctl.* to drctl@localhost",
)
_OPTIONS = (
    "--skip-networking",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--server-id=7",
    "--sync-binlog=1",
    "--gtid-strict-mode=1",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
)


def _program(name: str) -> str:
    found = find_program(name)
    assert found, f"{name} is missing: run scripts/test"
    return found


def _basedir() -> str:
    return os.path.dirname(os.path.dirname(os.path.realpath(_program("mariadbd"))))


def owner() -> tuple[int, int] | None:
    """A server of root's runs as nobody, as one of a package runs as mysql."""
    return (65534, 65534) if os.geteuid() == 0 else None


def make_template(into: Path) -> Path:
    """An empty data directory, which is copied for every server."""
    top = into / "mariadb-template"
    words = [f"--basedir={_basedir()}", f"--datadir={top}", "--skip-test-db"]
    words += ["--auth-root-authentication-method=normal", "--skip-name-resolve"]
    words += ["--user=root"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [_program("mariadb-install-db"), "--no-defaults", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return top


class MariaDB:
    """One server. `start`, `kill`, `stop`; `home` is its own directory, gone when the test ends."""

    def __init__(self, template: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="drctl-test-"))
        self.home.chmod(0o755)
        self.datadir = self.home / "data"
        shutil.copytree(template, self.datadir)
        self.socket = str(self.home / "socket")
        self._process: subprocess.Popen[bytes] | None = None
        self._own()

    def _own(self) -> None:
        user = owner()
        if user:
            subprocess.run(["chown", "-R", f"{user[0]}:{user[1]}", self.home], check=True)

    def start(self, *options: str) -> None:
        self._own()
        user = owner()
        words = [f"--basedir={_basedir()}", f"--datadir={self.datadir}", f"--socket={self.socket}"]
        words += [f"--pid-file={self.home}/pid", f"--log-error={self.home}/log"]
        self._process = subprocess.Popen(
            [_program("mariadbd"), "--no-defaults", *words, *_OPTIONS, *options],
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=() if user else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            with suppress(pymysql.MySQLError):
                self.ask("select 1")
                return
            assert self._process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < deadline, (self.home / "log").read_text()
            time.sleep(0.05)

    def connect(self) -> "pymysql.connections.Connection[Any]":
        return pymysql.connect(unix_socket=self.socket, user="root", autocommit=True)

    def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def grant(self) -> None:
        """What docs/engines/mariadb.md names."""
        self.ask(GRANTS[0], PASSWORD)
        for words in GRANTS[1:]:
            self.ask(words)

    def kill(self) -> None:
        """kill -9."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    def remove(self) -> None:
        if self._process and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)


@dataclass
class Writer:
    """Commits rows 1, 2, 3... and logs when each was begun and when it was confirmed."""

    server: MariaDB
    begun_ns: list[int] = field(default_factory=list)
    done_ns: list[int] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        self.server.ask("create database if not exists app")
        self.server.ask(
            "create table if not exists app.log (id int primary key, at_ns bigint, pad char(200))"
        )
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()
        self.wait_for(10)

    def _write(self) -> None:
        with suppress(pymysql.MySQLError), closing(self.server.connect()) as connection:
            while not self._ended.is_set():
                begun_ns = time.time_ns()
                self.begun_ns.append(begun_ns)
                row = (len(self.done_ns) + 1, begun_ns, "x" * 200)
                connection.cursor().execute("insert into app.log values (%s, %s, %s)", row)
                self.done_ns.append(time.time_ns())
                self._ended.wait(0.002)

    def wait_for(self, more: int) -> None:
        """Until so many more rows are confirmed."""
        wanted, deadline = len(self.done_ns) + more, time.monotonic() + 60
        while len(self.done_ns) < wanted:
            assert time.monotonic() < deadline, "the load does not get on"
            time.sleep(0.01)

    def end(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(60)

    def confirmed_before(self, at_ns: int) -> int:
        return sum(done < at_ns for done in self.done_ns)

    def begun_before(self, at_ns: int) -> int:
        return sum(begun <= at_ns for begun in self.begun_ns)


@contextmanager
def started(template: Path, *options: str) -> Iterator[MariaDB]:
    server = MariaDB(template)
    try:
        server.start(*options)
        server.grant()
        yield server
    finally:
        server.remove()


def standing(at: Path) -> AbstractContextManager[Standing]:
    """What the engine's own probe says of restored files."""
    around = Surroundings(SystemClock(), Silent(), "/", "/")
    return ENGINE.probe(Settings(), str(at), around).open()


def ids(found: Standing) -> list[int]:
    """The writer's rows."""
    return [int(row[0]) for row in found.query("select id from app.log order by id")]


# -- what tests/e2e/conftest.py hands on ----------------------------------------------------------


@pytest.fixture(scope="session")
def maria_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("mariadb"))


@pytest.fixture
def maria(maria_template: Path) -> Iterator[MariaDB]:
    """A server that runs."""
    with started(maria_template) as made:
        yield made


@pytest.fixture
def shop(bare: Any, maria: MariaDB) -> Any:
    """A site whose one asset is the server."""
    bare.plan(PLAN.format(socket=maria.socket, more=""))
    password = bare.top / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    bare.run("init")
    return bare


@pytest.fixture
def writer(maria: MariaDB) -> Iterator[Writer]:
    """It writes already."""
    made = Writer(maria)
    made.begin()
    yield made
    made.end()
