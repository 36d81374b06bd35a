"""Kill a database and its backups at random, and hold the drill's RPA beside the load's own log;
see scripts/rpa-kills."""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clusters import Cluster, give, place, standing

PLAN = """\
version: 1
name: rpa
objectives: {{rpo: 1h, rto: 10m}}
sites: {{here: {{failure_domain: a}}, there: {{failure_domain: b}}}}
repositories:
  first: {{site: here, path: first}}
  second: {{site: there, path: second, copy_of: first}}
keys: {{credential: file:keys/writer.key}}
assets:
  base: {{{engine}}}
recovery:
  steps: {{base: {{restore: base}}}}
checks:
  - {{asset: base, sql: "select count(*) from load", expect: {{min: 1}}}}
drills:
  after: {{from: {source}}}
"""
_LOG = "load.log"  # a line for each transaction that was answered: its number, and when it began
_TABLE = "create table load (id integer primary key, at_ns bigint not null)"
_INSERT = "insert into load values ({id}, {at_ns})"
_PACE_SECONDS = 0.02
_MOST_SECONDS = 1.0


@dataclass(frozen=True)
class Kill:
    """`rpa` as the drill measured it, `truth` from the load's log, both at the drill's
    declaration; `lost_seconds` of the load's work at the kill; `gaps`: transactions before the
    newest that did not come back."""

    engine: str
    rpa: float
    truth: float
    lost_seconds: float
    lost: int
    gaps: int

    @property
    def difference(self) -> float:
        return self.rpa - self.truth


class Host:
    """Runs the real command in a directory."""

    def __init__(self, top: Path, engine: str, source: str) -> None:
        self.top = top
        (top / "plan.yaml").write_text(PLAN.format(engine=engine, source=source))

    def start(self, *words: str) -> "subprocess.Popen[str]":
        variables = {"DRCTL_PASSPHRASE": "rpa", "DRCTL_STATE_DIR": f"{self.top}/state"}
        return subprocess.Popen(
            [sys.executable, "-m", "drctl", "--plan", f"{self.top}/plan.yaml", "-q", *words],
            env={**os.environ, **variables},
            cwd=self.top,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> str:
        process = self.start(*words)
        out, said = process.communicate()
        if process.returncode not in (0, 10):  # 10: the verdict is not what is asked here
            raise SystemExit(f"{words}: exit {process.returncode}\n{said}")
        return out


# -- the load -------------------------------------------------------------------------------------


def load(log: Path, insert: Callable[[str], object]) -> None:
    """One transaction after the other, until it is killed."""
    with log.open("a", buffering=1) as answered:
        for number in range(1, sys.maxsize):
            at_ns = time.time_ns()
            insert(_INSERT.format(id=number, at_ns=at_ns))
            answered.write(f"{number} {at_ns}\n")
            time.sleep(_PACE_SECONDS)


def load_sqlite(path: str, log: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as base:
        load(Path(log), base.execute)


def load_postgres(sockets: str, log: str) -> None:
    import psycopg

    with psycopg.connect(host=sockets, user="drctl", dbname="postgres", autocommit=True) as base:
        load(Path(log), lambda statement: base.execute(statement.encode()))


@contextmanager
def loaded(how: str, where: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    log.touch()
    process = subprocess.Popen([sys.executable, __file__, how, str(where), str(log)],
                               stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answered(log: Path) -> dict[int, int]:
    """Transactions and their instants. A line that was cut off was never answered."""
    lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {int(number): int(at_ns) for number, at_ns in (line.split() for line in lines)}


def outright(process: "subprocess.Popen[Any]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# -- one kill -------------------------------------------------------------------------------------


def kill_sqlite(top: Path, chance: random.Random) -> Kill:
    """Backups without a pause; whichever is under way is killed, too."""
    (top / "live").mkdir(parents=True)
    live = top / "live/base.db"
    with closing(sqlite3.connect(live)) as base, base:
        base.execute("pragma journal_mode = wal")
        base.execute(_TABLE)
    host = Host(top, "sqlite: {path: live/base.db, mark: true}", "second")
    host.run("init")
    with loaded("sqlite", live, top / _LOG) as process:
        host.run("backup")
        end = time.monotonic() + chance.uniform(0.5, 6.0)
        while time.monotonic() < end:
            backup = host.start("backup")
            with suppress(subprocess.TimeoutExpired):
                backup.communicate(timeout=max(0.01, end - time.monotonic()))
        process.kill()
        outright(backup)
    shutil.rmtree(top / "live")
    drilled = json.loads(host.run("drill", "after", "--json"))
    host.run("restore", "base", "--from", "second", "--to", str(top / "back.db"))
    with closing(sqlite3.connect(top / "back.db")) as base:
        back = [row[0] for row in base.execute("select id from load")]
    return judged("sqlite", drilled, back, answered(top / _LOG))


def kill_postgres(top: Path, chance: random.Random) -> Kill:
    """The log is streamed; the server with all its processes and the stream are killed."""
    cluster = Cluster(give(top / "live")).init().up()
    cluster.sql(_TABLE)
    settings = cluster.settings(
        stream="true", mark="true", mark_every="500ms", store_every="1s", dbname="postgres"
    )
    host = Host(top, f"postgres: {settings}", "first")
    host.run("init")
    stream = host.start("stream")
    with loaded("postgres", cluster.top, top / _LOG) as process:
        host.run("backup")
        time.sleep(chance.uniform(2.0, 8.0))
        process.kill()
        kill_cluster(cluster)
        outright(stream)
    shutil.rmtree(top / "live")
    drilled = json.loads(host.run("drill", "after", "--json"))
    host.run("restore", "base", "--to", str(top / "back"))
    with standing(top / "back", top / "up") as server:
        back = [row[0] for row in server.sql("select id from load")]
    return judged("postgres", drilled, back, answered(top / _LOG))


def kill_cluster(cluster: Cluster) -> None:
    pid = cluster.running.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    cluster.running.wait()


def judged(engine: str, drilled: dict[str, Any], back: list[int], log: dict[int, int]) -> Kill:
    (rpa,) = [j for j in drilled["objectives"] if j["what"] == "rpa" and j["asset"] == "base"]
    assert rpa["basis"] == "marker", json.dumps(drilled, indent=1)
    declared_ns = round(datetime.fromisoformat(drilled["declared_at"]).timestamp() * 1e9)
    # A transaction may have come back that was never answered: then the last answered one is it.
    newest = max(number for number in back if number in log)
    return Kill(
        engine,
        rpa["measured_seconds"],
        (declared_ns - log[newest]) / 1e9,
        (max(log.values()) - log[newest]) / 1e9,
        len(log.keys() - set(back)),
        sum(1 for number in log if number < newest and number not in set(back)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/rpa-kills")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--kills", type=int, default=20, help="of each engine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", nargs="+", default=["sqlite", "postgres"])
    given = parser.parse_args()
    print("engine       RPA, drill  by the log  difference   lost at the kill", flush=True)
    kills = [kill for engine in given.engines for kill in all_of(engine, given)]
    worst = max(abs(kill.difference) for kill in kills)
    gaps = sum(kill.gaps for kill in kills)
    print(json.dumps({"kills": len(kills), "worst_difference": round(worst, 3), "gaps": gaps}))
    return int(worst > _MOST_SECONDS or gaps > 0)


def all_of(engine: str, given: argparse.Namespace) -> Iterator[Kill]:
    for number in range(given.kills):
        chance = random.Random(f"{given.seed} {engine} {number}")
        if engine == "sqlite":
            kill = kill_sqlite(given.work.resolve() / f"sqlite-{number}", chance)
        else:
            with place() as top:
                kill = kill_postgres(top, chance)
        print(
            f"{engine:9}{kill.rpa:12.3f} s{kill.truth:10.3f} s{kill.difference:10.3f} s"
            f"{kill.lost_seconds:12.3f} s, {kill.lost} transactions",
            flush=True,
        )
        yield kill


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("sqlite", "postgres"):  # the load, in its own process
        (load_sqlite if sys.argv[1] == "sqlite" else load_postgres)(*sys.argv[2:])
    sys.exit(main())
