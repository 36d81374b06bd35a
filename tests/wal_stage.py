"""A PostgreSQL cluster under load, a site that protects it with its log, and standbys of it."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clusters import Cluster, bindir, give, identity, place, standing, start

PLAN = """\
version: 1
name: test
objectives: {{rpo: 2h}}
sites:
  here: {{failure_domain: a}}
  there: {{failure_domain: b}}
repositories:
  local: {{site: here, path: repository}}
  offsite: {{site: there, path: offsite, copy_of: local}}
keys: {{credential: file:keys/writer.key}}
assets:
  orders:
    postgres: {settings}
    schedule: hourly
"""
CONF = "track_commit_timestamp = on\n"


class Load:
    """Commits one row after the other and keeps its own log of what was committed."""

    def __init__(self, cluster: Cluster, pad: int = 100, pause: float = 0.0) -> None:
        self.cluster = cluster
        cluster.sql("create table if not exists load (id bigint primary key, pad text)")
        self.committed = 0
        self.pad, self.pause = pad, pause
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            with self.cluster.connect() as connection:
                while not self._ended.is_set():
                    connection.execute(
                        "insert into load values (%s, repeat('x', %s))",
                        (self.committed + 1, self.pad),
                    )
                    self.committed += 1
                    time.sleep(self.pause)
        except psycopg.Error:
            return  # the server was killed

    def wait_for(self, rows: int) -> None:
        end = time.monotonic() + 60
        while self.committed < rows:
            assert time.monotonic() < end
            time.sleep(0.01)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Stage:
    """A cluster, a site that protects it, and a stream that runs or does not."""

    def __init__(self, top: Path, site: Any, conf: str) -> None:
        self.cluster = Cluster(give(top / "live"), conf=CONF + conf).init().up()
        self.site = site
        self.following: subprocess.Popen[str] | None = None
        self.told = ""
        (top / "home").mkdir()

    def protect(self, **settings: Any) -> None:
        fast = {"stream": "true", "store_every": "200ms", "mark_every": "300ms"}
        self.site.plan(PLAN.format(settings=self.cluster.settings(**{**fast, **settings})))
        self.site.run("init")

    def follow(self) -> None:
        self.following = self.site.start("stream")
        end = time.monotonic() + 60
        while not self.cluster.sql("select 1 from pg_stat_replication where state = 'streaming'"):
            assert self.following.poll() is None, self.following.communicate()
            assert time.monotonic() < end, self.unfollow()
            time.sleep(0.05)

    def unfollow(self) -> str:
        """SIGTERM; gives what it said."""
        assert self.following
        self.following.send_signal(signal.SIGTERM)
        _, told = self.following.communicate(timeout=60)
        assert self.following.returncode == 0, told
        self.following = None
        return told

    def stored_to(self, lsn: str) -> None:
        """Wait until the log is stored up to a position."""
        end = time.monotonic() + 60
        query = "select flush_lsn >= %s::pg_lsn from pg_stat_replication"
        while self.cluster.sql(query, lsn) != [(True,)]:
            assert time.monotonic() < end, self.cluster.sql("select * from pg_stat_replication")
            time.sleep(0.05)

    def now_lsn(self) -> str:
        return str(self.cluster.sql("select pg_current_wal_lsn()::text")[0][0])

    def rows_back(self, *words: str) -> list[int]:
        """Restore and ask what is there."""
        name = f"back-{random.randrange(10**9)}"
        self.told = self.site.run("restore", "orders", "--to", self.site.top / name, *words).stderr
        with standing(self.site.top / name, self.site.top / f"{name}-up") as back:
            return [row[0] for row in back.sql("select id from load order by id")]

    def pieces(self, file: str = "") -> list[Path]:
        found: list[Path] = []
        for folder in self.site.top.glob(f"repository/log/*/{file}*"):
            with suppress(FileNotFoundError):  # the parts of a segment go
                found += folder.iterdir()
        return sorted(found)

    def close(self) -> None:
        if self.following:
            self.following.kill()
            self.following.communicate()
        self.cluster.stop()


@pytest.fixture
def stage_of(new_site: Callable[[Path], Any]) -> Iterator[Callable[..., Stage]]:
    with place() as top:
        made: list[Stage] = []

        def make(conf: str = "", **settings: Any) -> Stage:
            stage = Stage(top, new_site(top), conf)
            made.append(stage)
            stage.protect(**settings)
            return stage

        try:
            yield make
        finally:
            for stage in made:
                stage.close()


def fill(cluster: Cluster, segments: int) -> None:
    """Segments are 1 MiB here."""
    for _ in range(segments):
        cluster.sql("select pg_logical_emit_message(false, 'x', repeat('x', 900000))")
        cluster.sql("select pg_switch_wal()")


@pytest.fixture
def standby_of() -> Iterator[Callable[[Stage], Cluster]]:
    """Makes a standby that follows a stage's cluster, and has all of it by now."""
    made: list[Cluster] = []

    def make(stage: Stage) -> Cluster:
        standby = Cluster(give(stage.site.top / "standby"))
        subprocess.run(
            [str(bindir() / "pg_basebackup"), "-D", str(standby.data), "-h",
             str(stage.cluster.top), "-U", "drctl", "-R", "-X", "stream", "-c", "fast"],
            check=True, capture_output=True, cwd="/", **identity(),
        )  # fmt: skip
        socket = f"unix_socket_directories={standby.top}"
        standby.process = start(standby.data, standby.top, "-c", socket)
        made.append(standby)
        has_all(standby, stage)
        return standby

    yield make
    for standby in made:
        standby.stop()


def has_all(standby: Cluster, stage: Stage) -> None:
    at, end = stage.now_lsn(), time.monotonic() + 60
    while standby.sql("select pg_last_wal_replay_lsn() >= %s::pg_lsn", at) != [(True,)]:
        assert time.monotonic() < end
        time.sleep(0.05)


def push(stage: Stage, path: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """As archive_command does: in the data directory."""
    done = subprocess.run(
        stage.site.argv("wal", "push", "orders", path),
        env=stage.site.environment(), cwd=stage.cluster.data, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done
