"""PostgreSQL's WAL in the repository: what was committed comes back, to any instant."""

import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from clusters import standing
from wal_stage import PLAN, Load, fill, push

# -- the worst day --------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", [False, True])
def test_after_kill_9_of_the_primary_the_repository_alone_gives_back_what_was_committed(
    stage_of, synchronous, record_property
) -> None:
    waits = "synchronous_standby_names = 'drctl'\nsynchronous_commit = on\n" if synchronous else ""
    stage = stage_of(conf=waits, synchronous=str(synchronous).lower())
    stage.follow()
    with Load(stage.cluster) as load:
        load.wait_for(50)
        stage.site.run("backup")
        load.wait_for(load.committed + 300)
        confirmed = load.committed
        stage.stored_to(stage.now_lsn())
        stage.cluster.kill()
    stage.unfollow()
    rows = stage.rows_back("--from", "offsite")
    lost = load.committed - len(rows)
    record_property("rows_lost", lost)
    assert rows == list(range(1, len(rows) + 1)), "a row is missing in the middle"
    assert len(rows) >= (load.committed if synchronous else confirmed)
    assert len(rows) <= load.committed + 1, "one commit may be there whose answer was lost"


def test_the_marker_tells_how_fresh_the_restored_copy_is(stage_of) -> None:
    """Whoever locks or breaks its table stops no stream, and marks go on once that has ended."""
    stage = stage_of()
    stage.follow()
    stage.site.run("backup")
    marked_anew(stage)
    with stage.cluster.connect() as other, other.transaction():
        other.execute("lock table drctl.marker")
        until(lambda: stage.cluster.sql("select 1 from pg_locks where not granted"))
        stage.cluster.sql("create table seen ()")
        stage.stored_to(stage.now_lsn())
    marked_anew(stage)
    stage.cluster.sql("alter table drctl.marker add constraint no check (false) not valid")
    until(lambda: 'constraint "no"' in (stage.cluster.top / "log").read_text())
    stage.cluster.sql("alter table drctl.marker drop constraint no")
    marked_anew(stage)
    ((marked,),) = stage.cluster.sql("select max(at_ns) from drctl.marker")
    stage.stored_to(stage.now_lsn())
    stage.cluster.kill()
    assert "no marker is written: " in stage.unfollow()
    stage.site.run("restore", "orders", "--to", stage.site.top / "back")
    with standing(stage.site.top / "back", stage.site.top / "up") as back:
        ((newest,),) = back.sql("select max(at_ns) from drctl.marker")
    assert marked <= newest <= time.time_ns()


def marked_anew(stage) -> None:
    """Wait for a mark of after now."""
    newer = "select 1 from drctl.marker where at_ns > %s limit 1", time.time_ns()
    until(lambda: stage.cluster.sql(*newer))


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- any instant ----------------------------------------------------------------------------------


def test_ten_random_instants_are_met_exactly(stage_of) -> None:
    stage = stage_of()
    stage.site.run("backup")
    stage.follow()
    with Load(stage.cluster, pause=0.005) as load:
        load.wait_for(400)
    known = stage.cluster.sql("select pg_xact_commit_timestamp(xmin), id from load order by id")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    first, last = known[0][0], known[-1][0]
    for _ in range(10):
        at: datetime = first + (last - first) * random.random()
        expected = [row for when, row in known if when <= at]
        assert stage.rows_back("--at", at.isoformat()) == expected
        assert "left out" not in stage.told


def test_following_is_told_once_it_is_true(stage_of) -> None:
    stage = stage_of()
    stage.follow()
    second = stage.site.start("stream")
    assert second.stderr
    first_words = second.stderr.readline()
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=60)
    assert "slot drctl is in use" in first_words
    assert "orders: following its log" in stage.unfollow()
    assert "earlier backups" not in stage.site.run("snapshots").stderr, "of a log alone"


def test_a_time_after_the_last_commit_means_all_there_is(stage_of) -> None:
    stage = stage_of()
    stage.site.run("backup")
    stage.follow()
    with Load(stage.cluster) as load:
        load.wait_for(20)
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    ((later,),) = stage.cluster.sql("select clock_timestamp() + interval '1 minute'")
    assert len(stage.rows_back("--at", later.isoformat())) == load.committed


ODD_NAME = r"before the \next 'migration'"


def test_a_position_a_name_a_transaction_and_the_snapshot_alone_are_met(stage_of) -> None:
    stage = stage_of()
    stage.cluster.sql("create table load (id bigint primary key)")
    stage.site.run("backup")
    stage.follow()
    sql = stage.cluster.sql
    sql("insert into load values (1)")
    lsn = stage.now_lsn()
    sql("insert into load values (2)")
    sql("select pg_create_restore_point(%s)", ODD_NAME)
    ((xid,),) = sql("insert into load values (3) returning pg_current_xact_id()::text")
    sql("insert into load values (4)")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert stage.rows_back("--until", "immediate") == []
    assert stage.rows_back("--until", f"lsn:{lsn}") == [1]
    assert stage.rows_back("--until", f"name:{ODD_NAME}") == [1, 2]
    assert stage.rows_back("--until", f"transaction:{xid}") == [1, 2, 3]
    assert stage.rows_back() == [1, 2, 3, 4]
    told = stage.site.run("restore", "orders", "--to", stage.site.top / "told").stderr
    ((newest,),) = stage.cluster.sql("select max(pg_xact_commit_timestamp(xmin)) from load")
    reached = re.search(r"its newest commit is of (\S+ \S+)", told)
    assert reached
    assert datetime.fromisoformat(reached[1]) >= newest
    away = str(stage.site.top / "away")
    sql("insert into load values (5)")  # nobody follows any more
    for beyond in ("F/0", stage.now_lsn()):
        until = ("--until", f"lsn:{beyond}")
        done = stage.site.run("restore", "orders", "--to", away, *until, code=2)
        assert "does not reach" in done.stderr
        assert not Path(away).exists()


GROUPED = """
  uploads:
    files: {paths: [uploads]}
    schedule: hourly
groups:
  shop: {assets: [orders, uploads]}
"""


def test_a_group_names_its_instant_in_the_log_and_a_restore_to_the_name_meets_it(stage_of) -> None:
    """From an earlier snapshot: the group's own ends after its instant."""
    stage = stage_of()
    (stage.site.top / "uploads").mkdir()
    (stage.site.top / "uploads/one").write_text("what is empty is suspect", "utf-8")
    grants = (
        "create role saver login replication",
        "grant pg_read_all_settings to saver",
        "grant execute on function pg_backup_start(text, boolean) to saver",
        "grant execute on function pg_backup_stop(boolean) to saver",
    )
    for grant in grants:
        stage.cluster.sql(grant)
    told = {"stream": "true", "database_role": "saver", "store_every": "200ms"}
    stage.site.plan(PLAN.format(settings=stage.cluster.settings(**told)) + GROUPED)
    warned = stage.site.run("backup", "shop").stderr
    assert "grant execute on function pg_create_restore_point" in warned
    stage.cluster.sql("grant execute on function pg_create_restore_point(text) to saver")
    before = datetime.now().astimezone().isoformat()
    stage.follow()
    with Load(stage.cluster, pause=0.005) as load:
        load.wait_for(30)
        made = stage.site.json("backup", "shop")["snapshots"]
        load.wait_for(load.committed + 30)
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    point = made[0]["facts"]["point"]
    assert point == f"drctl-{made[0]['facts']['group_run']}"
    rows = stage.rows_back("--until", f"name:{point}")
    assert rows == list(range(1, len(rows) + 1))
    assert 30 <= len(rows) <= load.committed - 30
    whole = stage.site.top / "whole"
    assert "instant" not in stage.site.run("restore", "shop", "--to", whole).stderr
    with standing(whole / "orders", stage.site.top / "whole-up") as back:
        assert [row[0] for row in back.sql("select id from load order by id")] == rows
    told = stage.site.run("restore", "shop", "--to", "first", "--at", before).stderr
    assert "no earlier snapshot's log leads to the group's instant" in told


# -- what goes wrong ------------------------------------------------------------------------------


def test_archiving_and_fetching_file_by_file_leads_as_far(stage_of) -> None:
    stage = stage_of()
    stage.site.run("backup")
    fill(stage.cluster, 1)
    with Load(stage.cluster) as load:
        load.wait_for(50)
    ((closed,),) = stage.cluster.sql("select pg_walfile_name(pg_switch_wal())")
    ready = sorted(p for p in (stage.cluster.data / "pg_wal").iterdir() if len(p.name) == 24)
    for path in (p for p in ready if p.name <= closed):
        push(stage, path)
        push(stage, path)
    assert len(stage.rows_back()) == load.committed
    to = stage.site.top / "fetched"

    def fetch(file: str, **more: str) -> int:
        done = subprocess.run(
            stage.site.argv("wal", "fetch", "orders", file, to),
            env={**stage.site.environment(), **more}, cwd=stage.cluster.data, check=False,
            capture_output=True,
        )  # fmt: skip
        return done.returncode

    assert fetch(closed) == 0
    assert to.read_bytes() == (stage.cluster.data / "pg_wal" / closed).read_bytes()
    assert fetch("0000000100000000000000FF") == 1
    assert fetch(closed, DRCTL_PASSPHRASE="wrong") == 255

    gone = [path.name for path in ready if path.name < closed][-1]
    for piece in stage.pieces(gone):
        piece.unlink()
    assert fetch(gone) == 1, "the server itself has it, and takes that"
    aside = (stage.cluster.data / "pg_wal" / gone).rename(stage.site.top / gone)
    assert fetch(gone) == 255, "it would take the gap for the end of the log"
    (stage.cluster.data / "standby.signal").touch()
    assert fetch(gone) == 1, "a standby goes on asking"
    assert fetch(closed, DRCTL_PASSPHRASE="wrong") == 1, "255 would end its server"
    (stage.cluster.data / "standby.signal").unlink()
    aside.rename(stage.cluster.data / "pg_wal" / gone)
    assert re.fullmatch("[0-9A-F]{24}", closed)
