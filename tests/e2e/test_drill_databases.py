"""Drills of PostgreSQL with a tablespace, Redis and files together, from the other site's copy;
and what was broken on purpose, caught and named."""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from clusters import Cluster, give, place
from mariadb_servers import PASSWORD
from recoverable import change, drill, left, program, reasons
from redis_servers import Redis, started

PLAN = """\
version: 1
name: shop
objectives: {{rpo: 1h, rto: 10m, drill_every: 30d}}
sites:
  here: {{failure_domain: a}}
  there: {{failure_domain: b}}
repositories:
  local: {{site: here, path: local}}
  offsite: {{site: there, path: offsite, copy_of: local}}
keys: {{credential: file:keys/writer.key}}
assets:
  orders:
    postgres: {{host: {sockets}, database_role: drctl, dbname: shop, mark: true}}
    schedule: hourly
  carts:
    redis: {{host: {redis}, mark: true}}
    schedule: hourly
  uploads:
    files: {{paths: [live/uploads]}}
    schedule: hourly
recovery:
  defaults: {{timeout: 2m}}
  steps:
    orders: {{restore: orders}}
    carts: {{restore: carts}}
    uploads: {{restore: uploads}}
    app: {{run: [./app], after: [orders, carts, uploads]}}
checks:
  - {{asset: orders, sql: "select count(*) from item", expect: {{min: 500}}}}
  - {{asset: carts, sql: "hget cart:7 total", expect: "12"}}
  - {{asset: uploads, compare: manifest}}
drills:
  far: {{from: offsite, deny_sites: [here]}}
"""
MARIADB = """\
version: 1
name: shop
objectives: {{rpo: 1h, rto: 10m}}
sites:
  here: {{failure_domain: a}}
  there: {{failure_domain: b}}
repositories:
  local: {{site: here, path: local}}
  offsite: {{site: there, path: offsite, copy_of: local}}
keys: {{credential: file:keys/writer.key}}
assets:
  orders:
    mariadb: {{host: {socket}, user: drctl, password: file:password, mark: true}}
    schedule: hourly
checks:
  - {{asset: orders, sql: "select count(*) from app.item", expect: "200"}}
drills:
  far: {{deny_sites: [here]}}
"""
# The application needs all three, and reaches nothing of production.
APP = """\
#!/bin/sh
set -eu
test -d "$DRCTL_AT_ORDERS-tablespaces"
test -s "$DRCTL_AT_CARTS/dump.rdb"
test -s "$DRCTL_AT_UPLOADS/a.txt"
test ! -S {sockets}/.s.PGSQL.5432
"""


@dataclass
class Shop:
    """Production: both servers, the files, and two repositories."""

    site: Any
    cluster: Cluster
    redis: Redis

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return self.cluster.sql(statement, dbname="shop")

    def archive(self, segments: int) -> None:
        """Fill so many segments of WAL, of 1 MiB each, and store them as archive_command does."""
        for number in range(segments):
            self.sql(f"insert into item select {1000 + number}")
            name = self.sql("select pg_walfile_name(pg_current_wal_lsn())")[0][0]
            self.sql("select pg_switch_wal()")
            argv = self.site.argv("wal", "push", "orders", f"pg_wal/{name}")
            subprocess.run(argv, env=self.site.environment(), cwd=self.cluster.data, check=True)
        self.site.run("replicate")

    def live(self) -> dict[str, bytes]:
        """Every byte of production that nobody but a drill could change meanwhile."""
        tops = (self.site.top / "live", self.site.top / "space", self.redis.top)
        return {str(p): p.read_bytes() for top in tops for p in sorted(top.rglob("*"))
                if p.is_file() and p.name != "log"}  # fmt: skip


@pytest.fixture
def shop(new_site) -> Iterator[Shop]:
    with place() as top, started() as redis:
        cluster = Cluster(give(top / "pg")).init().up()
        try:
            made = Shop(new_site(top), cluster, redis)
            fill(made)
            yield made
        finally:
            cluster.stop()


def fill(shop: Shop) -> None:
    top = shop.site.top
    for folder in ("home", "live/uploads", "tmp"):
        (top / folder).mkdir(parents=True)
    (top / "tmp").chmod(0o711)
    shop.site.variables["TMPDIR"] = str(top / "tmp")
    (top / "live/uploads/a.txt").write_text("alpha\n")
    space = give(top / "space")
    shop.cluster.sql(f"create tablespace fast location '{space}'")
    shop.cluster.sql("create database shop")
    shop.sql("create table item (id int primary key) tablespace fast")
    shop.sql("insert into item select generate_series(1, 500)")
    shop.sql("checkpoint")
    shop.redis.ask("HSET", "cart:7", "total", 12)
    shop.site.plan(PLAN.format(sockets=shop.cluster.top, redis=shop.redis.socket))
    program(top / "app", APP.format(sockets=shop.cluster.top))
    shop.site.run("init")
    shop.site.run("backup")


def test_three_kinds_of_assets_are_drilled_together_and_proven(shop) -> None:
    shop.archive(2)
    before = shop.live()
    found = drill(shop.site)
    assert shop.live() == before
    assert list((shop.site.top / "tmp").iterdir()) == [], "a server's own directory is left"
    assert found["repository"]["name"] == "offsite"
    assert found["isolation"]["proven"]
    by = {(o["what"], o["asset"]): o for o in found["objectives"]}
    assert by["rpa", "orders"]["basis"] == by["rpa", "carts"]["basis"] == "marker"
    assert by["rpa", "uploads"]["basis"] == "consistent point"
    assert all(o["answer"] == "met" for o in by.values()), by
    checks = {c["check"]: c for c in found["checks"]}
    assert all(c["ok"] and c["proves"] for c in checks.values()), checks
    assert checks["orders 1: sql"]["found"] == "found 502", "its log was not replayed"
    for name in ("orders 1: sql", "carts 1: sql", "carts: counts"):
        assert checks[name]["on_empty"] == "failed"
    for name in ("orders: integrity", "carts: integrity", "uploads 1: compare"):
        assert checks[name]["on_damaged"] == "failed"


def test_a_recovery_lets_servers_pass_through_what_another_step_made(shop) -> None:
    with closing(sqlite3.connect(shop.site.top / "live/lite.db")) as database, database:
        database.execute("create table t (id int)")
    change(shop.site, "recovery:\n", "  lite: {sqlite: {path: live/lite.db}}\nrecovery:\n")
    steps = "lite: {restore: lite, to: rec/lite.db}\n    orders: {restore: orders, to: rec/orders, "
    change(shop.site, "orders: {restore: orders", f"{steps}after: [lite]")
    change(shop.site, "carts: {restore: carts}", "carts: {restore: carts, to: rec/carts}")
    change(shop.site, "uploads: {restore: uploads}", "uploads: {restore: uploads, to: rec/uploads}")
    program(shop.site.top / "app", "#!/bin/sh\n")
    shop.site.run("backup")
    found = shop.site.json("recover", "--yes")
    assert {s["step"]: s["status"] for s in found["steps"]}["orders.proof"] == "done"


def test_checks_of_databases_that_cannot_fail_make_the_drill_invalid(shop) -> None:
    change(shop.site, "select count(*) from item", "select 500")
    change(shop.site, "hget cart:7 total", "dbsize")
    change(shop.site, 'expect: "12"', "expect: {min: 0}")
    told = reasons(drill(shop.site, "invalid"))
    assert "check 'orders 1: sql' passes on an empty" in told
    assert "check 'carts 1: sql' passes on an empty" in told


def test_missing_wal_a_full_disk_and_a_dropped_table_are_named(shop) -> None:
    shop.archive(3)
    pieces = sorted(shop.site.top.glob("offsite/log/*/*.whole.*/*"))
    kept = pieces[-2].rename(shop.site.top / "kept")
    told = reasons(drill(shop.site, "failed"))
    assert "orders: " in told
    assert "the log has a gap" in told
    kept.rename(pieces[-2])

    change(shop.site, "deny_sites: [here]", "deny_sites: [here], directory: small")
    said = drill_on_a_small_disk(shop.site)
    assert "drill far: FAILED" in said
    assert "No space left" in said
    change(shop.site, ", directory: small", "")

    shop.sql("drop table item")
    shop.site.run("backup", "orders")
    told = reasons(drill(shop.site, "failed"))
    assert 'orders 1: sql: shop: relation "item" does not exist' in told


def drill_on_a_small_disk(site: Any) -> str:
    """What the drill says where its directory is a disk of 12 MiB, mounted for it alone; a normal
    user mounts it in a namespace of their own, and is themselves again in one inside."""
    (site.top / "small").mkdir()
    argv = site.argv("drill", "far")
    uid, gid = os.geteuid(), os.getegid()
    outer, inner = ["--mount"], []
    if uid:
        outer = ["--mount", "--map-root-user"]
        inner = ["unshare", "--user", f"--map-user={uid}", f"--map-group={gid}"]
    script = 'mount -t tmpfs -o size=12m,mode=0711 tmpfs small && exec "$@"'
    done = subprocess.run(
        ["unshare", *outer, "sh", "-c", script, "sh", *inner, *argv],
        cwd=site.top, env=site.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 10, done.stdout + done.stderr
    assert left(site) == []
    return done.stdout


def test_what_a_killed_drill_left_of_its_servers_is_removed_by_the_next_command(
    shop, stop_at_end
) -> None:
    program(shop.site.top / "app", '#!/bin/sh\ntouch "$DRCTL_DRILL/began"\nsleep 600\n')
    running = shop.site.start("drill", "far")
    stop_at_end.append(running)
    end = time.monotonic() + 60
    while not list((shop.site.top / "state/drills").glob("drill-*/began")):
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    up = list((shop.site.top / "tmp").glob("*/*"))
    assert any(path.is_socket() for path in up), "no server was up"
    running.kill()
    running.wait()
    assert "what a drill left there is removed" in shop.site.run("snapshots").stderr
    assert left(shop.site) == []
    assert list((shop.site.top / "tmp").iterdir()) == []


def test_a_marker_that_may_not_be_written_is_told_and_the_backup_is_made(shop) -> None:
    for words in ("create role poor login replication", "grant pg_read_all_settings to poor",
                  "grant execute on function pg_backup_start(text, boolean) to poor",
                  "grant execute on function pg_backup_stop(boolean) to poor"):  # fmt: skip
        shop.sql(words)
    shop.sql("revoke all on schema drctl from public")
    shop.redis.ask("ACL", "SETUSER", "default", "-set")
    change(shop.site, "database_role: drctl", "database_role: poor")
    said = shop.site.run("backup").stderr
    assert "orders: no marker was written: " in said
    assert "permission denied for schema drctl" in said
    assert "carts: no marker was written: " in said
    assert "grant the user what docs/engines/redis.md names" in said
    with pytest.raises(psycopg.Error, match="permission denied"):
        psycopg.connect(host=str(shop.cluster.top), user="poor", dbname="shop").execute(
            "select * from drctl.marker"
        )


def test_mariadb_is_drilled_and_its_checks_can_fail(bare, maria) -> None:
    maria.ask("create database app")
    maria.ask("create table app.item (id int primary key) select seq as id from app.seq_1_to_200")
    secret = bare.top / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    bare.plan(MARIADB.format(socket=maria.socket))
    bare.run("init")
    bare.run("backup")
    found = drill(bare)
    (rpa,) = [o for o in found["objectives"] if o["what"] == "rpa"]
    assert (rpa["basis"], rpa["answer"]) == ("marker", "met")
    checks = {c["check"]: c for c in found["checks"]}
    assert all(c["ok"] and c["proves"] for c in checks.values()), checks
    assert checks["orders 1: sql"]["on_empty"] == "failed"
    assert checks["orders: integrity"]["on_damaged"] == "failed"
