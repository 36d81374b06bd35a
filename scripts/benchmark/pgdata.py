"""A cluster of PostgreSQL that pgbench filled, at rest or running."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.data import settle
from benchmark.ending import ending_with_us

_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PORT, ROLE = "5439", "postgres"
_STATE = (
    "select count(*), sum(abalance), (select sum(delta) from pgbench_history) from pgbench_accounts"
)


class Postgres:
    """Its data directory, stopped, so that tools which know no databases can copy it, too."""

    name = "pg"
    options = "-c listen_addresses= -c max_wal_size=2GB -c fsync=off -c autovacuum=off"

    def __init__(self, top: Path, scale: int) -> None:
        self.path = top / "pg"
        self.socket = top / "socket"
        self._scale = scale
        self._user = "postgres" if os.geteuid() == 0 else ""

    def make(self) -> None:
        if self.path.exists():
            return
        partial = self.path.with_name("pg.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        if self._user:
            shutil.chown(partial, self._user, self._user)
        self.run("initdb", "-D", str(partial), "-A", "trust", "-U", ROLE, "-k")
        with self.serving(partial):
            self.pgbench("-i", "-q", "-s", str(self._scale))
        partial.rename(self.path)
        settle()

    def change(self) -> None:
        """Twenty thousand transactions, spread over all of it."""
        with self.serving(self.path):
            self.pgbench("-c", "4", "-t", "5000")
        settle()

    @contextmanager
    def serving(self, path: Path) -> Iterator[None]:
        """While it runs, on a socket."""
        self.socket.mkdir(exist_ok=True)
        self.socket.chmod(0o777)
        options = f"-k {self.socket} -p {PORT} {self.options}".split()
        argv = self.argv("postgres", "-D", str(path), *options)
        with (self.socket / "log").open("ab") as log:
            process = subprocess.Popen(argv, cwd="/", stdout=log, stderr=log)
        try:
            self._wait(process)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # a fast shutdown
            process.wait()

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        ask = self.argv("pg_isready", "-q", *self._where())
        for _ in range(300):
            if subprocess.run(ask, cwd="/", check=False).returncode == 0:
                return
            if process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"bench: PostgreSQL does not answer; see {self.socket}/log")

    def pgbench(self, *words: str) -> str:
        return self.run("pgbench", *self._where(), *words)

    def started_pgbench(self, *words: str) -> "subprocess.Popen[str]":
        """The same, running."""
        argv = self.argv("pgbench", *self._where(), *words)
        return subprocess.Popen(argv, stdout=subprocess.PIPE, cwd="/", text=True)

    def _where(self) -> tuple[str, ...]:
        return ("-h", str(self.socket), "-p", PORT, "-U", ROLE)

    def sql(self, statement: str) -> str:
        return self.run("psql", "-XAtq", *self._where(), "-d", "postgres", "-c", statement)

    def state(self) -> str:
        """What a restored copy must have, too: every account and every transaction counts in it."""
        return self.sql(_STATE)

    def run(self, program: str, *words: str) -> str:
        argv = self.argv(program, *words)
        done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, cwd="/", text=True)
        return done.stdout

    def argv(self, program: str, *words: str) -> list[str]:
        """As the user that the server belongs to: root is none that it takes."""
        if not _BIN:
            raise SystemExit("bench: PostgreSQL is not installed; on Debian: postgresql")
        return ending_with_us([str(_BIN[-1] / program), *words], self._user)


class Running(Postgres):
    """The same cluster, which runs while it is backed up and pgbench changes it."""

    name = "pgcluster"
    options = f"{Postgres.options} -c wal_keep_size=2GB"

    def change(self) -> None:
        """What pgbench left in memory is written by whoever asks first: by us, so by no tool."""
        self.pgbench("-c", "4", "-t", "5000")
        self.sql("checkpoint")
        settle()
