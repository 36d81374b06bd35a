"""PostgreSQL clusters of the tests' own: on a Unix socket, where their user may enter.

PostgreSQL does not run as root, so root runs them as the user `postgres`, and everything lies below
a directory of /tmp: pytest's own may be entered by root alone.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from small_plan import HEAD

PLAN = (
    HEAD
    + """\
  orders:
    postgres: {settings}
    schedule: hourly
"""
)
CONF = """
listen_addresses = ''
unix_socket_directories = '{sockets}'
shared_buffers = 16MB
max_wal_size = 256MB
min_wal_size = 32MB
wal_level = replica
max_wal_senders = 10
max_replication_slots = 10
fsync = off
full_page_writes = on
autovacuum = off
log_timezone = 'UTC'
timezone = 'UTC'
"""


def identity() -> dict[str, Any]:
    """For subprocess: who runs the servers."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def bindir() -> Path:
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else Path("/usr/lib/postgresql/15/bin")


def give(path: Path) -> Path:
    """A directory of the servers' user."""
    path.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        who = identity()
        os.chown(path, who["user"], who["group"])
    return path


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A directory that everybody may pass through."""
    made = Path(tempfile.mkdtemp(prefix="drctl-test-pg-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@dataclass
class Cluster:
    """A server; see `up`."""

    top: Path
    conf: str = ""
    pages: str = "--data-checksums"
    process: "subprocess.Popen[bytes] | None" = None
    made: list[Path] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.top / "data"

    def init(self) -> "Cluster":
        give(self.top)
        argv = [str(bindir() / "initdb"), "-D", str(self.data), "-U", "drctl", "-A", "trust",
                "--no-sync", "--locale=C", "-E", "UTF8", "--wal-segsize=1", self.pages]  # fmt: skip
        subprocess.run(argv, check=True, capture_output=True, cwd="/", **identity())
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(CONF.format(sockets=self.top) + self.conf)
        return self

    def up(self) -> "Cluster":
        self.process = start(self.data, self.top)
        return self

    @property
    def running(self) -> "subprocess.Popen[bytes]":
        assert self.process, "it was not started"
        return self.process

    def kill(self) -> None:
        """kill -9 of the postmaster; its children end when they see it."""
        self.running.kill()
        self.running.wait()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        self.process = None

    def connect(self, dbname: str = "postgres", **more: Any) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            host=str(self.top), user="drctl", dbname=dbname, autocommit=True, **more
        )

    def sql(self, statement: str, *values: Any, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        with self.connect(dbname) as connection:
            done = connection.execute(statement.encode(), values or None)
            return done.fetchall() if done.description else []

    def half_drop(self, dbname: str) -> None:
        """A database as a DROP DATABASE leaves it that was interrupted."""
        self.sql(f"create database {dbname}")
        self.sql("update pg_database set datconnlimit = -2 where datname = %s", dbname)

    def settings(self, **more: Any) -> str:
        words = {"host": self.top, "database_role": "drctl", **more}
        return "{" + ", ".join(f"{key}: {value}" for key, value in words.items()) + "}"


def start(data: Path, sockets: Path, *options: str) -> "subprocess.Popen[bytes]":
    """A server that answers: also one that was restored, with its sockets elsewhere."""
    argv = [str(bindir() / "postgres"), "-D", str(data), "-k", str(sockets)]
    argv += ["-c", "listen_addresses=", *options]
    with (sockets / "log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **identity()
        )
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(host=str(sockets), user="drctl", dbname="postgres").close()
            return process
        told = (sockets / "log").read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"the server ended:\n{told}"
        assert time.monotonic() < end, f"the server does not answer:\n{told}"
        time.sleep(0.05)


@contextlib.contextmanager
def standing(data: Path, sockets: Path) -> Iterator[Cluster]:
    """A restored cluster that is up and has left recovery."""
    cluster = Cluster(give(sockets))
    cluster.process = start(data, sockets)
    try:
        while cluster.sql("select pg_is_in_recovery()")[0][0]:
            time.sleep(0.02)
        yield cluster
    finally:
        cluster.stop()
