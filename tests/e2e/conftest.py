"""A site of its own for every test: a plan, live data, two repositories, the real command."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mariadb_servers import maria, maria_template, shop, writer  # noqa: F401 - fixtures
from mariadb_streams import kept  # noqa: F401 - a fixture
from wal_stage import stage_of, standby_of  # noqa: F401 - fixtures

PLAN = """\
version: 1
name: test
objectives: {rpo: 2h}
sites:
  here: {failure_domain: a}
  there: {failure_domain: b}
repositories:
  local: {site: here, path: local}
  offsite: {site: there, path: offsite, copy_of: local}
keys: {credential: file:keys/writer.key}
assets:
  tree:
    files: {paths: [live/tree]}
    schedule: hourly
  base:
    sqlite: {path: live/base.db}
    schedule: hourly
  dump:
    command: {run: [sh, -c, "echo dumped; cat live/base.db | wc -c"], name: dump.txt}
    schedule: hourly
"""


@dataclass
class Site:
    """Runs drctl as a person does; see `run`."""

    top: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top / "home"),
            "LC_ALL": "C.UTF-8",
            "DRCTL_PASSPHRASE": "correct horse",
            "DRCTL_STATE_DIR": str(self.top / "state"),
            **self.variables,
        }

    def argv(self, *words: str | Path) -> list[str]:
        plan = str(self.top / "plan.yaml")
        return [sys.executable, "-m", "drctl", "--plan", plan, *map(str, words)]

    def run(
        self, *words: str | Path, code: int = 0, through: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """The finished command; its exit code must be `code`. `through`: what starts it."""
        done = subprocess.run(
            [*through, *self.argv(*words)],
            env=self.environment(),
            cwd=self.top,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=240,  # the demo takes a minute on a machine with six times as much to do
            check=False,
        )
        said = f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, said
        assert "Traceback" not in done.stderr, said
        return done

    def json(self, *words: str | Path, code: int = 0) -> Any:
        """The result of a command as its one JSON document; its events must be JSON lines."""
        done = self.run(*words, "--json", code=code)
        for line in done.stderr.splitlines():
            json.loads(line)
        return json.loads(done.stdout)

    def start(self, *words: str | Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.argv(*words),
            env=self.environment(),
            cwd=self.top,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def plan(self, text: str) -> None:
        (self.top / "plan.yaml").write_text(text)

    def snapshots(self, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("snapshots", *words)
        return found


def rsync_differences(before: Path, after: Path) -> str:
    """What an independent tool sees: content, times, modes, owners, links, ACLs, attributes."""
    done = subprocess.run(
        ["rsync", "-nacHAX", "--delete", "--itemize-changes", f"{before}/", f"{after}/"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout + done.stderr


def make_live(top: Path) -> None:
    tree = top / "live" / "tree"
    (tree / "sub" / "deeper").mkdir(parents=True)
    (tree / "a.txt").write_text("alpha\n")
    (tree / "sub" / "b.txt").write_text("beta\n")
    (tree / "sub" / "deeper" / "c.bin").write_bytes(os.urandom(700_000))
    (tree / "empty").touch()
    (tree / "link").symlink_to("a.txt")
    os.link(tree / "a.txt", tree / "sub" / "same-as-a")
    with closing(sqlite3.connect(top / "live" / "base.db")) as database, database:
        database.execute("create table t (id integer primary key, v text)")
        database.executemany("insert into t (v) values (?)", [(f"row {i}",) for i in range(1000)])


@pytest.fixture
def bare(tmp_path: Path) -> Site:
    """Live data and a plan; nothing initialised."""
    (tmp_path / "home").mkdir()
    make_live(tmp_path)
    site = Site(tmp_path)
    site.plan(PLAN)
    return site


@pytest.fixture
def new_site() -> Callable[[Path], Site]:
    """A site somewhere else, with nothing in it."""
    return Site


@pytest.fixture
def site(bare: Site) -> Site:
    """Initialised, no snapshot yet."""
    bare.run("init")
    return bare


@pytest.fixture
def differences() -> Callable[[Path, Path], str]:
    return rsync_differences


@pytest.fixture
def limited() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs drctl with no more than so many files open, of itself and of each that it starts."""

    def run(
        site: Site, most: int, *words: str | Path, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return site.run(*words, code=code, through=("prlimit", f"--nofile={most}:{most}"))

    return run


@pytest.fixture
def stop_at_end() -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes that must not outlive the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
