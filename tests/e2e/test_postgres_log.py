"""PostgreSQL's WAL in the repository: what was committed comes back, to any instant, or it is told
why not."""

import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
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
        return sorted(self.site.top.glob(f"repository/log/*/{file}*/*"))

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
        stage.cluster.kill()
    stage.unfollow()
    rows = stage.rows_back("--from", "offsite")
    lost = load.committed - len(rows)
    record_property("rows_lost", lost)
    assert rows == list(range(1, len(rows) + 1)), "a row is missing in the middle"
    assert lost <= 0 if synchronous else lost < 300
    assert len(rows) <= load.committed + 1, "one commit may be there whose answer was lost"


def test_the_marker_tells_how_fresh_the_restored_copy_is(stage_of) -> None:
    stage = stage_of()
    stage.follow()
    stage.site.run("backup")
    time.sleep(1)
    before = time.time_ns()
    time.sleep(1)
    stage.cluster.kill()
    stage.unfollow()
    stage.site.run("restore", "orders", "--to", stage.site.top / "back")
    with standing(stage.site.top / "back", stage.site.top / "up") as back:
        ((newest,),) = back.sql("select max(at_ns) from drctl.marker")
    assert before - 10**9 < newest


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


def test_a_position_a_name_a_transaction_and_the_snapshot_alone_are_met(stage_of) -> None:
    stage = stage_of()
    stage.cluster.sql("create table load (id bigint primary key)")
    stage.site.run("backup")
    stage.follow()
    sql = stage.cluster.sql
    sql("insert into load values (1)")
    lsn = stage.now_lsn()
    sql("insert into load values (2)")
    sql("select pg_create_restore_point('before-migration')")
    ((xid,),) = sql("insert into load values (3) returning pg_current_xact_id()::text")
    sql("insert into load values (4)")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert stage.rows_back("--until", "immediate") == []
    assert stage.rows_back("--until", f"lsn:{lsn}") == [1]
    assert stage.rows_back("--until", "name:before-migration") == [1, 2]
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


# -- what goes wrong ------------------------------------------------------------------------------


def fill(cluster: Cluster, segments: int) -> None:
    """Segments are 1 MiB here."""
    for _ in range(segments):
        cluster.sql("select pg_logical_emit_message(false, 'x', repeat('x', 900000))")
        cluster.sql("select pg_switch_wal()")


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
    fill(stage.cluster, 5)
    stage.site.run("backup")
    sql("insert into load values (3)")
    sql("select pg_create_restore_point('after')")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert stage.rows_back("--until", "name:between") == [1, 2]
    assert stage.rows_back("--until", f"transaction:{middle}") == [1, 2]
    assert stage.rows_back("--until", "name:after") == [1, 2, 3]
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


def test_a_lost_slot_is_told_and_the_stream_goes_on(stage_of) -> None:
    stage = stage_of(conf="max_slot_wal_keep_size = 2MB\nmax_wal_size = 2MB\nmin_wal_size = 2MB\n")
    stage.follow()
    stage.unfollow()
    fill(stage.cluster, 12)
    stage.cluster.sql("checkpoint")
    assert stage.cluster.sql("select wal_status from pg_replication_slots") == [("lost",)]
    stage.following = stage.site.start("stream")
    end = time.monotonic() + 60
    while not stage.cluster.sql(
        "select 1 from pg_replication_slots where active and wal_status = 'reserved'"
    ):
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)
    told = stage.unfollow()
    assert "take a new backup now" in told
    assert "the log has a gap" in told
    stage.site.run("backup")
    with Load(stage.cluster) as load:
        load.wait_for(5)
    stage.follow()
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    assert len(stage.rows_back()) == load.committed


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
    take_over(standby_of(stage), stage)
    assert stage.rows_back() == [*range(1, load.committed + 1), 1000000]
    assert stage.rows_back("--timeline", "current") == [*range(1, load.committed + 1)]


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


def push(stage: Stage, path: Path, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """As archive_command does: in the data directory."""
    done = subprocess.run(
        stage.site.argv("wal", "push", "orders", path),
        env=stage.site.environment(), cwd=stage.cluster.data, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


def test_archiving_and_fetching_file_by_file_leads_as_far(stage_of) -> None:
    stage = stage_of()
    stage.site.run("backup")
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
    assert re.fullmatch("[0-9A-F]{24}", closed)
