"""What a cluster was set to never rules a copy of it: neither where it works, nor how far it goes,
nor whom it follows."""

import signal
import time
from datetime import datetime
from pathlib import Path

from clusters import standing
from wal_stage import Stage, fill, has_all

from drctl.clock import SystemClock
from drctl.engines import postgres
from drctl.engines.base import Surroundings
from drctl.events import Silent


def asked(stage: Stage, at: Path, sql: str) -> tuple[tuple[str, ...], ...]:
    """As a drill asks a restored copy."""
    settings = postgres.Settings(host=str(stage.cluster.top), database_role="drctl")
    around = Surroundings(SystemClock(), Silent(), str(at), str(at))
    with postgres.Probe(settings, str(at), around).open() as standing:
        return standing.query(sql)


# Subscriptions are at work: a copy's would take from a publisher what the original waits for.
SUBSCRIBING = "select count(*) from pg_stat_activity where backend_type like 'logical replication%'"


def test_a_copy_never_works_in_the_directory_that_its_settings_name(stage_of) -> None:
    """Production has crashed; its own postgresql.conf says where its data is."""
    stage = stage_of()
    cluster, site = stage.cluster, stage.site
    pid_file, control = cluster.top / "pid", cluster.data / "global/pg_control"
    with (cluster.data / "postgresql.conf").open("a") as file:
        file.write(f"data_directory = '{cluster.data}'\nexternal_pid_file = '{pid_file}'\n")
    cluster.sql("create table t as select 1 as id")
    site.run("backup")
    cluster.sql("insert into t values (2)")
    assert cluster.sql(SUBSCRIBING) == [(1,)]
    cluster.running.send_signal(signal.SIGQUIT)
    cluster.running.wait()
    crashed = control.read_bytes()
    back = site.top / "back"
    told = site.run("restore", "orders", "--to", back).stderr
    assert f"says data_directory = '{cluster.data}': that line is a comment here now" in told
    assert f"external_pid_file '{pid_file}'" in told
    settings = back / "postgresql.conf"
    at_home = settings.read_text()
    settings.write_text(f"{at_home}data_directory = '{cluster.data}'\n")  # as an include might
    where = "select count(*), current_setting('data_directory') from t"
    assert asked(stage, back, where) == (("1", str(back)),)
    settings.write_text(at_home)
    with standing(back, site.top / "up") as up:
        assert up.sql(where) == [(1, str(back))]
        assert up.sql(SUBSCRIBING) == [(0,)]
    assert control.read_bytes() == crashed


def test_how_far_a_copy_recovers_is_what_was_asked_for(stage_of) -> None:
    """Whatever an earlier recovery left in the cluster's settings."""
    stage = stage_of(
        conf="recovery_target = 'immediate'\nrecovery_target_action = 'pause'\n"
        "recovery_target_inclusive = off\nrecovery_min_apply_delay = '1h'\n"
    )
    sql = stage.cluster.sql
    sql("alter system set recovery_target_name = 'never'")
    sql("create table load (id bigint primary key)")
    stage.site.run("backup")
    stage.follow()
    sql("insert into load values (1)")
    ((at,),) = sql("select clock_timestamp()")
    ((second,),) = sql("insert into load values (2) returning pg_current_xact_id()::text")
    sql("insert into load values (3)")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    back = stage.site.top / "back"
    stage.site.run("restore", "orders", "--to", back)
    assert asked(stage, back, "select max(id) from load") == (("3",),)
    assert stage.rows_back("--at", at.isoformat()) == [1]
    assert stage.rows_back("--until", f"transaction:{second}") == [1, 2]


def test_a_snapshot_of_a_standby_comes_back_as_a_server_of_its_own(stage_of, standby_of) -> None:
    """And its log goes on: nobody ends the segment that is written there, so the snapshot has but
    the begin of it."""
    stage = stage_of()
    primary = stage.cluster
    primary.sql("create table load (id bigint primary key)")
    primary.sql("insert into load values (1)")
    standby = standby_of(stage)
    assert (standby.data / "standby.signal").exists()
    primary.sql("checkpoint")  # then a base ends in the segment that is written, not in one before
    has_all(standby, stage)
    try:
        stage.cluster = standby
        stage.protect()
        (made,) = stage.site.json("backup")["snapshots"]
        assert made["facts"]["mode"] == "remote"
        assert "standby.signal" not in stage.site.run("ls", made["id"]).stdout
        assert stage.rows_back() == [1]
        stage.follow()
        primary.sql("insert into load values (2)")
        fill(primary, 2)
        primary.sql("insert into load values (3)")
        ((end,),) = primary.sql("select pg_current_wal_lsn()::text")
        stage.stored_to(end)
        stage.unfollow()
        assert stage.rows_back() == [1, 2, 3]
        standby.sql("alter system set primary_conninfo = ''")
        standby.sql("select pg_reload_conf()")
        while standby.sql("select 1 from pg_stat_wal_receiver"):
            time.sleep(0.05)
        ((left,),) = primary.sql("select clock_timestamp()")
        primary.sql("insert into load values (4)")
        (late,) = stage.site.json("backup")["snapshots"]
        first, late = (datetime.fromisoformat(s["consistent_at"]) for s in (made, late))
        assert first < late < left, "what it did not receive is not in it"
    finally:
        stage.cluster = primary
