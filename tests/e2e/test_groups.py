"""Assets captured together: one recovery point, or none."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from redis_servers import started
from small_plan import HEAD

from drctl.clock import SystemClock
from drctl.engines import redis
from drctl.engines.base import Source, Surroundings
from drctl.engines.redis_client import Connection
from drctl.engines.throttle import Throttled
from drctl.events import Silent
from drctl.model import Snapshot
from drctl.ops.group import name_points, open_all, runs
from drctl.storage.throttle import Pace

PLAN = (
    HEAD
    + """\
  alone:
    command: {{run: [echo, alone]}}
    schedule: hourly
  base:
    sqlite: {{path: live/base.db}}
    schedule: hourly
  tree:
    files: {{paths: [live/tree]}}
    schedule: hourly
{more}
groups:
  state: {{assets: [{members}], max_skew: {skew}}}
"""
)


@pytest.fixture
def grouped(site):
    site.plan(PLAN.format(more="", members="base, tree", skew="20s"))
    return site


def test_a_group_is_one_recovery_point_that_comes_back_whole(grouped, differences) -> None:
    made = grouped.json("backup")["snapshots"]
    assert [s["asset"] for s in made] == ["alone", "base", "tree"]
    facts = [s["facts"] for s in made[1:]]
    assert facts[0]["group"] == "state"
    assert facts[0]["group_assets"] == "base,tree"
    assert facts[0]["group_run"] == facts[1]["group_run"]
    assert 0 <= float(facts[0]["group_skew_seconds"]) < 20
    assert "group" not in made[0]["facts"]
    listed = grouped.run("snapshots", "state").stdout.splitlines()
    assert len(listed) == 3
    assert all(line.endswith("state") for line in listed[1:])
    grouped.run("restore", "state", "--to", grouped.top / "back")
    assert differences(grouped.top / "live/tree", grouped.top / "back/tree") == ""
    assert (grouped.top / "back/base/base.db").exists()
    grouped.run("restore", "state", "--to", grouped.top / "back", code=9)
    grouped.run("restore", "state", "--path", "x", "--to", grouped.top / "other", code=2)


def test_an_earlier_recovery_point_comes_back_by_time(grouped) -> None:
    first = grouped.json("backup", "state")["snapshots"]
    at = max(s["consistent_at"] for s in first)
    (grouped.top / "live/tree/a.txt").write_text("changed\n")
    grouped.run("backup", "state")
    grouped.run("backup", "tree")
    done = grouped.json("restore", "state", "--at", at, "--to", grouped.top / "back")
    ids = [one["snapshot"]["id"] for one in done["restored"]]
    assert ids == [s["id"] for s in first]
    assert (grouped.top / "back/tree/a.txt").read_text() == "alpha\n"
    grouped.run("restore", "state", "--at", "1999-01-01", "--to", grouped.top / "none", code=2)


def test_over_the_allowed_skew_there_is_no_snapshot_of_the_group(grouped) -> None:
    """A server that waits for further replicas before it forks: its instant comes late."""
    with started("repl-diskless-sync-delay 2") as server:
        server.ask("CONFIG", "SET", "repl-diskless-sync-delay", "2")
        more = f"  carts:\n    redis: {{host: {server.socket}}}\n    schedule: hourly\n"
        grouped.plan(PLAN.format(more=more, members="base, carts, tree", skew="500ms"))
        told = grouped.run("backup", code=4).stderr
    assert "carts is " in told
    assert "later than" in told
    assert "at most 0.5s are allowed" in told
    assert [s["asset"] for s in grouped.snapshots()] == ["alone"]
    assert not list((grouped.top / "state").rglob("*copy*"))


def test_one_that_fails_while_it_is_read_keeps_all_of_its_group_out(grouped) -> None:
    more = '  bad:\n    command: {run: [sh, -c, "echo half; exit 3"]}\n    schedule: hourly\n'
    grouped.plan(PLAN.format(more=more, members="base, tree, bad", skew="20s"))
    told = grouped.json("backup", code=4)
    assert [s["asset"] for s in told["snapshots"]] == ["alone"]
    assert list(told["failed"]) == ["state"]
    assert [s["asset"] for s in grouped.snapshots()] == ["alone"]


def test_one_that_cannot_be_opened_lets_the_others_go(grouped) -> None:
    grouped.plan(PLAN.format(more="", members="base, tree", skew="20s"))
    (grouped.top / "live/base.db").rename(grouped.top / "elsewhere")
    grouped.run("backup", "state", code=4)
    assert grouped.snapshots() == []
    assert not list((grouped.top / "state").rglob("*copy*"))


def test_a_recovery_point_whose_run_was_killed_between_two_commits_is_none() -> None:
    def snapshot(asset: str, run: str, at: int) -> Snapshot:
        facts = {"group": "g", "group_run": run, "group_assets": "a,b"}
        return Snapshot(asset + run, asset, "files", "h", at, 0, 0, 1, 1, 1, 0, facts=facts)

    all_of_them = [snapshot("a", "1", 1), snapshot("b", "1", 2), snapshot("a", "2", 3)]
    assert [[s.name for s in run] for run in runs(all_of_them, "g")] == [["a1", "b1"]]
    assert runs(all_of_them, "other") == []


def test_one_transfer_between_two_sources_is_never_seen_half(grouped) -> None:
    """An application writes to a database first, then to Redis. Within the recorded skew, what
    Redis holds is in the database, or was written in the meantime."""
    with started() as server, contextlib.ExitStack() as stack:
        more = f"  carts:\n    redis: {{host: {server.socket}}}\n    schedule: hourly\n"
        grouped.plan(PLAN.format(more=more, members="carts, base", skew="20s"))
        database = stack.enter_context(
            contextlib.closing(sqlite3.connect(grouped.top / "live/base.db", timeout=60,
                                               check_same_thread=False))
        )  # fmt: skip
        database.execute("pragma journal_mode=wal")
        database.execute("create table log (n integer, at_ns integer)")
        ended = threading.Event()

        def write() -> None:
            with Connection(server.place) as connection:
                n = 0
                while not ended.is_set():
                    n += 1
                    with database:
                        database.execute("insert into log values (?, ?)", (n, time.time_ns()))
                    connection.call("SET", "n", n)
                    time.sleep(0.001)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            try:
                made = grouped.json("backup", "state")["snapshots"]
            finally:
                ended.set()
            writing.result()
        skew_ns = float(made[0]["facts"]["group_skew_seconds"]) * 1e9
        grouped.run("restore", "state", "--to", grouped.top / "back")
        at = str(grouped.top / "back/carts")
        around = Surroundings(SystemClock(), Silent(), str(grouped.top), str(grouped.top))
        with redis.ENGINE.probe(redis.Settings(), at, around).open() as standing:
            held = int(standing.query("get n")[0][0] or 0)
        with contextlib.closing(sqlite3.connect(grouped.top / "back/base/base.db")) as copy:
            (last,) = copy.execute("select max(n) from log").fetchone()
        times = dict(database.execute("select n, at_ns from log").fetchall())
        apart_ns = abs(times[max(held, 1)] - times[last or 1])
        at_ns = sorted(times.values())
        pause_ns = max((b - a for a, b in pairwise(at_ns)), default=0)  # what else kept it waiting
        assert apart_ns < skew_ns + pause_ns + 2_000_000_000


class Named:
    """A source, and its capture, of a database that can name an instant of its log."""

    facts: ClassVar[dict[str, str]] = {}
    private_facts: ClassVar[dict[str, str]] = {}
    consistent_at_ns = 1

    def __init__(self, others: list[str]) -> None:
        self.told = others

    @contextlib.contextmanager
    def open(self) -> Iterator["Named"]:
        self.told.append("open")
        yield self

    def items(self) -> Iterator[Any]:
        self.told.append("read")
        return iter(())

    def name_point(self, name: str) -> None:
        self.told.append(name)


def test_points_are_named_once_all_are_open_and_before_any_is_read() -> None:
    """Also through a throttle, which must not hide the ability."""
    told: list[str] = []
    pace = Pace(1e9, SystemClock())
    sources: list[Source] = [Named(told), Throttled(Named(told), pace)]
    with contextlib.ExitStack() as stack:
        captures = open_all(stack, sources)
        name_points("drctl-1", captures)
        for capture in captures:
            list(capture.items())
    assert told == ["open", "open", "drctl-1", "drctl-1", "read", "read"]


def test_mistaken_groups_are_told(grouped) -> None:
    plan = PLAN.format(more="", members="base, nothing", skew="20s")
    grouped.plan(plan + "  tree: {assets: [base]}\n")
    told = grouped.run("validate", code=3).stderr
    assert "no asset 'nothing'; assets: alone, base, tree" in told
    assert "an asset is called so, too" in told
    assert "'base' is in group 'state' already" in told


def test_a_source_that_reaches_its_instant_late_is_refused_in_a_group(grouped) -> None:
    grouped.plan(
        PLAN.format(more="", members="base, shop", skew="20s").replace(
            "assets:\n", "assets:\n  shop: {mariadb: {mode: pipe}, schedule: daily}\n", 1
        )
    )
    told = grouped.run("validate", code=3).stderr
    assert "'mode: pipe' of mariadb reaches its instant only at its end" in told
