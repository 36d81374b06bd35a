"""Gaps, lost slots, promotions, second writers: the log leads to where it says, or it is told why
not."""

import shutil
import struct
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from checksums import crc32c
from clusters import Cluster, give, place, standing
from wal_stage import Load, Stage, fill, has_all, push

from drctl.engines.postgres_client import lsn_of
from drctl.engines.postgres_recovery import newest_commit

PAGE, SEGMENT = 8192, 1 << 20


def test_a_gap_in_the_log_is_an_error_and_never_the_end_of_it(stage_of) -> None:
    stage = stage_of()
    stage.cluster.sql("create table load (id bigint primary key)")
    stage.site.run("backup")
    stage.follow()
    fill(stage.cluster, 4)
    stage.cluster.sql("insert into load values (1)")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    whole = [piece for piece in stage.pieces() if ".whole." in str(piece)]
    whole[-2].unlink()
    away = stage.site.top / "away"
    done = stage.site.run("restore", "orders", "--to", away, code=5)
    assert "the log has a gap" in done.stderr
    assert not away.exists()
    assert stage.rows_back("--until", "immediate") == []


def test_what_lies_before_a_gap_is_reached_by_time_name_and_transaction(stage_of) -> None:
    stage = stage_of()
    sql = stage.cluster.sql
    sql("create table load (id bigint primary key)")
    stage.site.run("backup")
    stage.follow()
    ((first,),) = sql("insert into load values (1) returning pg_current_xact_id()::text")
    ((at,),) = sql("select clock_timestamp()")
    sql("insert into load values (2)")
    sql("select pg_create_restore_point('before')")
    fill(stage.cluster, 4)
    ((late,),) = sql("insert into load values (3) returning pg_current_xact_id()::text")
    sql("select pg_create_restore_point('behind')")
    ((behind,),) = sql("select clock_timestamp()")
    sql("insert into load values (4)")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    whole = [piece for piece in stage.pieces() if ".whole." in str(piece)]
    whole[-2].unlink()
    assert stage.rows_back("--at", at.isoformat()) == [1]
    assert stage.rows_back("--until", f"transaction:{first}") == [1]
    assert stage.rows_back("--until", "name:before") == [1, 2]
    away = stage.site.top / "away"
    told = stage.site.json("status", code=10)
    primary = next(one for one in told["assets"] if one["repository"] == "local")
    assert "is missing" in primary["gap"]
    assert primary["verdict"] != "missed"  # what lies before it is new enough, and is reached
    assert datetime.fromisoformat(primary["recovery_point"]) < behind
    assert any("has a gap" in todo["what"] for todo in told["to_do"])
    assert "has a gap" in stage.site.run("verify", code=6).stderr
    points = ("--until", f"transaction:{late}"), ("--until", "name:behind"), ("--at", str(behind))
    for words in points:
        done = stage.site.run("restore", "orders", "--to", away, *words, code=5)
        assert "the log has a gap" in done.stderr
        assert not away.exists()


def test_what_stands_behind_a_commit_whose_clock_was_ahead_is_told_and_to_be_had(stage_of) -> None:
    stage = stage_of(mark="false")
    sql = stage.cluster.sql
    sql("create table load (id bigint primary key)")
    stage.site.run("backup")
    sql("insert into load values (1)")
    ahead, *its_place = _commit_in_one_page(stage.cluster)
    sql("insert into load values (2)")
    fill(stage.cluster, 3)
    ((last,),) = sql("insert into load values (3) returning pg_current_xact_id()::text")
    sql("begin; insert into load values (9); rollback")
    ((at,),) = sql("select clock_timestamp()")
    time.sleep(0.002)
    sql("insert into load values (4)")
    ((closed,),) = sql("select pg_walfile_name(pg_switch_wal())")
    _set_an_hour_ahead(*its_place)
    wal = (stage.cluster.data / "pg_wal").iterdir()
    for path in sorted(path for path in wal if len(path.name) == 24 and path.name <= closed):
        push(stage, path)
    assert stage.rows_back("--at", at.isoformat()) == [1]
    assert f"left out: 2 transactions of before that time, since transaction {ahead}" in stage.told
    assert f"--until transaction:{last} goes to the last of them" in stage.told
    assert stage.rows_back("--until", f"transaction:{last}") == [1, 2, 3]


def _commit_in_one_page(cluster: Cluster) -> tuple[str, Path, int]:
    """A transaction, and where its commit lies: in which segment, and its first of 34 bytes."""
    while True:
        query = "select pg_current_xact_id()::text, pg_current_wal_insert_lsn()::text"
        ((number, lsn),) = cluster.sql(query)
        ((name,),) = cluster.sql("select pg_walfile_name(%s)", lsn)
        path, at = cluster.data / "pg_wal" / name, lsn_of(lsn) % SEGMENT
        record = path.read_bytes()[at : at + 34]
        length, xid = struct.unpack_from("=II", record)
        is_commit = (length, xid, record[16] & 0x7F, record[17]) == (34, int(number), 0, 1)
        if is_commit and at % PAGE <= PAGE - 34:
            return number, path, at


def _set_an_hour_ahead(path: Path, at: int) -> None:
    """A commit's time, and its checksum, as a clock that was wrong would have left them. The server
    writes that page no more."""
    with path.open("r+b") as file:
        file.seek(at)
        record = bytearray(file.read(34))
        (when,) = struct.unpack_from("=q", record, 26)
        struct.pack_into("=q", record, 26, when + 3600 * 10**6)
        struct.pack_into("=I", record, 20, crc32c(bytes(record[24:] + record[:20])))
        file.seek(at)
        file.write(record)


def test_a_point_picks_the_base_that_leads_there_or_is_refused_before_anything_is_written(
    stage_of,
) -> None:
    stage = stage_of()
    sql = stage.cluster.sql
    sql("create table load (id bigint primary key)")
    ((old,),) = sql("insert into load values (1) returning pg_current_xact_id()::text")
    stage.site.run("backup")
    stage.follow()
    ((middle,),) = sql("insert into load values (2) returning pg_current_xact_id()::text")
    sql("select pg_create_restore_point('between')")
    position = stage.now_lsn()
    fill(stage.cluster, 5)
    stage.site.run("backup")
    sql("insert into load values (3)")
    sql("select pg_create_restore_point('after')")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert stage.rows_back("--until", "name:between") == [1, 2]
    assert stage.rows_back("--until", f"transaction:{middle}") == [1, 2]
    assert stage.rows_back("--until", "name:after") == [1, 2, 3]
    earlier = stage.site.top / "earlier"
    stage.site.run("restore", "orders", "--to", earlier, "--until", f"lsn:{position}")
    newest = stage.site.json("snapshots")[-1]["id"]
    away = stage.site.top / "away"
    for wanted, point in (
        ("orders", "name:nosuch"),
        ("orders", "transaction:99999999"),
        ("orders", f"transaction:{old}"),
        (newest, "name:between"),
    ):
        done = stage.site.run("restore", wanted, "--to", away, "--until", point, code=2)
        assert "does not hold" in done.stderr
        assert not away.exists()


def test_a_commit_is_found_whose_record_lies_across_two_segments() -> None:
    """Else a time just before it counted as all there is, and it was replayed, too."""
    with place() as top:
        cluster = Cluster(give(top / "live"), conf="track_commit_timestamp = on\n").init().up()
        try:
            at, names = commit_across(cluster)
            assert newest_commit(str(cluster.data), names, 15, SEGMENT) == at
            assert newest_commit(str(cluster.data), names[1:], 15, SEGMENT) < at
        finally:
            cluster.stop()


def commit_across(cluster: Cluster) -> tuple[str, list[str]]:
    """A commit 16 bytes before the end of a segment, tried anew where the server writes a record of
    its own meanwhile. Gives its time, and both segments, the newer one first."""
    with cluster.connect() as connection:

        def ask(statement: str, *values: object) -> Any:
            return connection.execute(statement.encode(), values or None).fetchone()

        def end() -> int:
            return int(ask("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0])

        def write(size: int) -> None:
            ask("select pg_logical_emit_message(false, '', repeat('x', %s::int))", max(0, size))

        ask("select pg_current_xact_id()")
        while True:
            before = end()
            write(800)
            head = end() - before - 800
            room = SEGMENT - end() % SEGMENT
            write(room - 4000 - room // PAGE * 24)
            write(SEGMENT - end() % SEGMENT - head - 16)
            names = ask(
                "select pg_walfile_name(now + 100), pg_walfile_name(now)"
                " from pg_current_wal_insert_lsn() as now"
            )
            starts = end() % SEGMENT
            (transaction,) = ask("select pg_current_xact_id()::text")
            if starts == SEGMENT - 16 and end() % SEGMENT < 100:
                form = "YYYY-MM-DD HH24:MI:SS.US"
                ask("select pg_switch_wal()")  # only now it is on the disk for sure
                query = "select to_char(pg_xact_commit_timestamp(%s::xid) at time zone 'UTC', %s)"
                return str(ask(query, transaction, form)[0]), list(names)


def test_a_lost_slot_is_told_and_the_stream_goes_on(stage_of) -> None:
    stage = stage_of(conf="max_slot_wal_keep_size = 2MB\nmax_wal_size = 2MB\nmin_wal_size = 2MB\n")
    stage.follow()
    stage.unfollow()
    fill(stage.cluster, 12)
    stage.cluster.sql("checkpoint")
    assert stage.cluster.sql("select wal_status from pg_replication_slots") == [("lost",)]
    stage.following = stage.site.start("stream")
    assert "take a new backup now" in said_until(stage, "the log has a gap")
    end = time.monotonic() + 60
    while not stage.cluster.sql(
        "select 1 from pg_replication_slots join pg_stat_replication on pid = active_pid"
        " where state = 'streaming' and wal_status = 'reserved'"
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    stage.unfollow()
    stage.site.run("backup")
    with Load(stage.cluster) as load:
        load.wait_for(5)
    stage.follow()
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert len(stage.rows_back()) == load.committed


def said_until(stage: Stage, words: str) -> str:
    """What the stream said, up to a line with these words."""
    assert stage.following
    assert stage.following.stderr
    told = ""
    for line in stage.following.stderr:
        told += line
        if words in line:
            return told
    raise AssertionError(told)


def take_over(standby: Cluster, stage: Stage) -> str:
    """The primary is lost, the standby is promoted, and the stream follows that. Gives what it
    said."""
    stage.unfollow()
    stage.cluster.kill()
    standby.sql("select pg_promote()")
    standby.sql("select pg_create_physical_replication_slot('drctl', true)")
    standby.sql("insert into load values (1000000)")
    stage.cluster = standby
    stage.protect()
    stage.follow()
    stage.stored_to(stage.now_lsn())
    return stage.unfollow()


def test_the_way_goes_on_over_a_promotion(stage_of, standby_of) -> None:
    """A standby takes over; the stream follows it; a restore goes along both timelines."""
    stage = stage_of()
    stage.follow()
    stage.site.run("backup")
    with Load(stage.cluster) as load:
        load.wait_for(50)
    stage.cluster.sql("select pg_create_restore_point('before')")
    take_over(standby_of(stage), stage)
    assert stage.rows_back() == [*range(1, load.committed + 1), 1000000]
    assert stage.rows_back("--timeline", "current") == [*range(1, load.committed + 1)]
    stage.site.run("backup")  # which is of the second timeline
    assert stage.rows_back("--timeline", "1") == [*range(1, load.committed + 1)]
    of_the_first = ("--timeline", "1", "--until", "name:before")
    assert stage.rows_back(*of_the_first) == [*range(1, load.committed + 1)]

    anew(stage)
    stage.follow()
    fill(stage.cluster, 1)
    stage.stored_to(stage.now_lsn())
    assert "gap" not in stage.unfollow()


def anew(stage: Stage) -> None:
    """No log is stored, no slot, and the server has removed the WAL of the promotion."""
    stage.cluster.sql("select pg_drop_replication_slot('drctl')")
    for _ in range(2):
        fill(stage.cluster, 2)
        stage.cluster.sql("checkpoint")
    for piece in stage.pieces():
        piece.unlink()


@pytest.mark.parametrize("closed_segments", [0, 2])
def test_a_standby_may_take_over_that_lacks_what_was_stored(
    stage_of, standby_of, closed_segments
) -> None:
    """Then the log of the lost primary goes on beyond where the standby left it: in the segment
    that begins there, or in later ones. Either way is restored."""
    stage = stage_of()
    stage.follow()
    stage.site.run("backup")
    with Load(stage.cluster) as load:
        load.wait_for(50)
    standby = standby_of(stage)
    stage.unfollow()
    stage.cluster.sql("select pg_switch_wal()")
    has_all(standby, stage)
    standby.sql("alter system set primary_conninfo = ''")
    standby.sql("select pg_reload_conf()")
    while standby.sql("select 1 from pg_stat_wal_receiver"):
        time.sleep(0.05)
    stage.follow()
    stage.cluster.sql("insert into load values (2000000)")
    for _ in range(closed_segments):
        stage.cluster.sql("insert into load select max(id) + 1 from load")
        stage.cluster.sql("select pg_switch_wal()")
    stage.stored_to(stage.now_lsn())
    before = datetime.now().astimezone().isoformat()
    assert "it may lack commits that 'restore --timeline 1' brings" in take_over(standby, stage)
    both = [*range(1, load.committed + 1)]
    assert stage.rows_back() == [*both, 1000000]
    assert stage.rows_back("--at", before) == both
    assert "'restore --timeline 1' brings that" in stage.told
    lost = [*range(2000000, 2000001 + closed_segments)]
    assert stage.rows_back("--timeline", "1") == [*both, *lost]


def test_a_second_writer_of_one_timeline_is_refused(stage_of) -> None:
    """A restored copy that was started beside the original, on the same timeline by mistake."""
    stage = stage_of()
    stage.follow()
    stage.site.run("backup")
    fill(stage.cluster, 1)
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    (piece,) = [p for p in stage.pieces() if ".whole." in str(p)][-1:]
    file = piece.parent.name.split(".")[0]
    wal = (stage.cluster.data / "pg_wal" / file).read_bytes()
    other = stage.site.top / "other" / file
    other.parent.mkdir()
    other.write_bytes(wal[:-1] + b"\xff")
    assert "another content" in push(stage, other, code=4).stderr
    other.write_bytes(wal)
    push(stage, other)
    other.write_bytes(wal[:-100])
    assert "it is cut" in push(stage, other, code=4).stderr
    other.rename(other.with_name("cut"))
    assert "is not the name of a WAL file" in push(stage, other.with_name("cut"), code=4).stderr
    assert not stage.pieces("cut")


def test_a_server_that_was_set_back_is_told_and_adds_nothing(stage_of) -> None:
    """As by a snapshot of its machine. What is saved of it comes back without the log of before:
    also a snapshot that names that, as one of an older drctl does."""
    stage = stage_of(mark_every="1h")
    stage.follow()
    stage.unfollow()
    cluster, log = stage.cluster, stage.site.top / "repository" / "log"
    cluster.sql("create table load (id bigint)")
    set_back(stage)
    before = stage.pieces()
    stage.following = stage.site.start("stream")
    said_until(stage, "before the end of what is stored of it")
    stage.unfollow()
    assert stage.pieces() == before

    log.rename(log.with_name("aside"))
    stage.site.run("backup")  # it cannot know
    shutil.rmtree(log, ignore_errors=True)
    log.with_name("aside").rename(log)
    assert stage.rows_back() == []
    assert "the snapshot comes alone" in stage.told
    cluster.sql("insert into load values (2)")
    now = datetime.now(UTC).isoformat()
    asked = ("restore", "orders", "--to", stage.site.top / "no", "--at", now)
    assert "nothing of it is replayed" in stage.site.run(*asked, code=9).stderr

    stage.protect(mark_every="1h", mode="remote")
    assert "another content is stored than this server wrote" in stage.site.run("backup").stderr
    status = stage.site.run("status", code=10).stdout
    assert "NO LOG that continues it" in status

    of_its_own(cluster)
    assert "names no log" not in stage.site.run("backup").stderr
    assert "NO LOG" not in stage.site.run("status").stdout
    stage.follow()
    cluster.sql("insert into load values (3)")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert stage.rows_back() == [2, 3]
    first = min(stage.site.snapshots(), key=lambda one: one["consistent_at"])["id"]
    back, up = stage.site.top / "first", stage.site.top / "first-up"
    stage.site.run("restore", first, "--until", "immediate", "--to", back)
    with standing(back, up) as copy:
        newest = copy.sql("select max(pg_walfile_name(pg_current_wal_lsn()))")
    assert newest[0][0].startswith("00000003"), "timeline 2 is another server's"


def set_back(stage: Stage) -> None:
    """After it wrote, and the stream stored, what it then has not."""
    cluster = stage.cluster
    cluster.stop()
    earlier = cluster.top / "earlier"
    subprocess.run(["cp", "-a", cluster.data, earlier], check=True)
    cluster.up()
    stage.follow()
    fill(cluster, 2)
    cluster.sql("insert into load select generate_series(1000, 2000)")
    stage.site.run("backup")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    cluster.stop()
    shutil.rmtree(cluster.data)
    earlier.rename(cluster.data)
    cluster.up()


def of_its_own(cluster: Cluster) -> None:
    """As docs/engines/postgres.md says: it takes a timeline of its own."""
    cluster.stop()
    (cluster.data / "recovery.signal").touch()
    with (cluster.data / "postgresql.conf").open("a") as conf:
        conf.write("restore_command = 'false'\n")
    cluster.up()
    while cluster.sql("select pg_is_in_recovery()")[0][0]:
        time.sleep(0.02)
