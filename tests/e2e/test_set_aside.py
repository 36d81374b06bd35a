"""What stands where something is restored to is one with what stands beside it: a database with its
logs, a cluster with its tablespaces. It is refused, or set aside, whole."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from clusters import Cluster, give, place, standing
from recoverable import PLAN, change, lay_out
from small_plan import HEAD

# Commits, begins something else, and ends as if the power went: all of it is in the log alone.
WRITER = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("pragma journal_mode=" + sys.argv[2])
database.execute("pragma wal_autocheckpoint=0")
if sys.argv[2] == "wal":
    database.execute("update t set v = 'newer'")
database.execute("pragma cache_size=1")
database.execute("begin")
database.execute("update t set v = 'never committed' || hex(randomblob(2000))")
os._exit(0)
"""
NEWEST = {"wal": "newer", "delete": "row 0"}


def crash(path: Path, mode: str) -> None:
    subprocess.run([sys.executable, "-c", WRITER, str(path), mode], check=True)
    assert Path(f"{path}-{'wal' if mode == 'wal' else 'journal'}").stat().st_size > 1000


def first_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        return str(database.execute("select v from t order by id").fetchone()[0])


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_is_set_aside_with_its_logs_and_opens_whole(bare, mode) -> None:
    lay_out(bare, PLAN, "#!/bin/sh\necho up\n")
    base = bare.top / "live/base.db"
    crash(base, mode)
    change(bare, "{restore: base, ", "{restore: base, existing: set_aside, ")
    change(bare, "{restore: tree, ", "{restore: tree, existing: set_aside, ")
    bare.run("recover", "--yes", "--mode", "planned")
    (aside,) = (p for p in base.parent.glob("base.db.before-*") if p.name.count("-") == 2)
    assert first_of(aside) == NEWEST[mode]
    assert first_of(base) == "row 0"


def test_the_logs_of_a_database_are_never_taken_away_by_a_restore(site) -> None:
    site.run("backup", "base")
    base = site.top / "live/base.db"
    crash(base, "wal")
    base.rename(site.top / "live/base.bad")  # and its log was forgotten
    said = site.run("restore", "base", "--to", base, code=9).stderr
    assert f"{base}-wal, {base}-shm exist: nothing was restored" in said
    assert f"mv {base}-wal {base}.before-wal" in said
    assert site.run("restore", "base", "--to", f"{base.parent}/", code=9)
    assert not base.exists()
    for ending in ("-wal", "-shm"):
        Path(f"{base}{ending}").rename(f"{site.top}/live/base.bad{ending}")
    assert first_of(site.top / "live/base.bad") == "newer"
    site.run("restore", "base", "--to", base)
    assert first_of(base) == "row 0"


CLUSTER = (
    HEAD
    + """\
  orders:
    postgres: {settings}
    schedule: hourly
recovery:
  steps:
    orders: {{restore: orders, to: again/orders}}
    hold: {{approval: somebody, after: [orders]}}
"""
)


@pytest.fixture
def spaced(new_site):
    """A cluster with a tablespace, saved; and the table in it is large enough to be killed over."""
    with place() as top:
        cluster = Cluster(give(top / "live")).init().up()
        try:
            cluster.sql(f"create tablespace fast location '{give(top / 'space')}'")
            cluster.sql(
                "create table t tablespace fast as"
                " select i as id, sha512(i::text::bytea) as pad from generate_series(1, 200000) i"
            )
            site = new_site(top)
            (top / "home").mkdir()
            site.plan(CLUSTER.format(settings=cluster.settings()))
            site.run("init")
            site.run("backup")
            cluster.stop()
            yield site
        finally:
            cluster.stop()


def until(site, running, seen) -> None:
    deadline = time.monotonic() + 90
    while not seen():
        assert time.monotonic() < deadline
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.002)


def recovered(site, running) -> None:
    """Until somebody is asked, which comes after the proof; then it is cancelled."""

    def is_asked() -> bool:
        steps = site.json("recover", "--watch")["steps"]
        return next(s for s in steps if s["step"] == "hold")["status"] == "running"

    until(site, running, is_asked)


def rows(data: Path, sockets: Path) -> int:
    with standing(data, sockets) as cluster:
        return int(cluster.sql("select count(*) from t")[0][0])


def test_tablespaces_come_and_go_with_their_cluster(spaced, stop_at_end) -> None:
    """Killed over the tablespace and resumed; then that cluster is set aside, and both start."""
    top, data = spaced.top, spaced.top / "again/orders"
    running = spaced.start("recover", "--yes")
    stop_at_end.append(running)
    until(spaced, running, lambda: list((top / "again").glob("orders-tablespaces/*/*")))
    running.send_signal(signal.SIGKILL)
    running.wait()
    running = spaced.start("recover", "--resume")
    stop_at_end.append(running)
    recovered(spaced, running)
    spaced.run("recover", "--cancel", "--by", "Ada")
    running.wait(60)
    assert rows(data, top / "up") == 200_000

    with standing(data, top / "up") as cluster:
        cluster.sql("delete from t where id > 1000")
    data.rename(top / "elsewhere")  # its tablespaces are still in the way, and nothing is begun
    said = spaced.run("recover", "--yes", code=9).stderr
    assert f"orders: {data}-tablespaces" in said
    said = spaced.run("restore", "orders", "--to", data, code=9).stderr
    assert "orders-tablespaces" in said
    assert not data.exists()
    (top / "elsewhere").rename(data)

    change(spaced, "again/orders}", "again/orders, existing: set_aside}")
    running = spaced.start("recover", "--yes")
    stop_at_end.append(running)
    until(spaced, running, lambda: list(data.parent.glob("orders.before-*")))
    recovered(spaced, running)
    spaced.run("recover", "--cancel", "--by", "Ada")
    running.wait(60)
    (aside,) = (p for p in data.parent.glob("orders.before-*") if "tablespaces" not in p.name)
    (link,) = (aside / "pg_tblspc").iterdir()
    assert os.readlink(link) == f"{aside}-tablespaces/{link.name}"
    assert rows(data, top / "up") == 200_000
    assert rows(aside, top / "up") == 1000
