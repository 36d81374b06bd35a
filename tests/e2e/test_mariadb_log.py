"""MariaDB's binlog in the repository: what was committed comes back, to any instant, or it is told
why not."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from mariadb_servers import ids, standing
from mariadb_streams import log_of, position, restored, streaming, utc

from drctl.engines import mariadb_binlog as binlog
from drctl.engines.child import find_program
from drctl.logpieces import by_file

INSTANTS = int(os.environ.get("DRCTL_TEST_INSTANTS", "3"))


def test_a_restore_lands_exactly_at_any_second_and_at_any_transaction(kept, maria, writer) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        first = time.time_ns() // 10**9 + 2
        for _ in range(3):
            writer.wait_for(150)
            time.sleep(1)
            maria.ask("flush binary logs")
        last = time.time_ns() // 10**9
        writer.end()
        end = position(maria)
        stream.wait_until_stored(*end)
    chance = random.Random(time.time_ns())
    for second in [chance.randint(first, last) for _ in range(INSTANTS)]:
        done, found = restored(kept, "--at", utc(second))
        with found as up:
            rows = ids(up)
        at_ns = second * 10**9
        assert rows == list(range(1, len(rows) + 1)), done.stderr
        assert writer.confirmed_before(at_ns) <= len(rows) <= writer.begun_before(at_ns - 1), (
            second, done.stderr
        )  # fmt: skip
    assert done.stderr.index("replaying") < done.stderr.index("the binlog is replayed up to")
    gtid = maria.ask("select binlog_gtid_pos(%s, %s)", *end)[0][0]
    domain, server, sequence = str(gtid).split("-")
    one = int(sequence) - chance.randint(1, 100)
    done, found = restored(kept, "--until", f"gtid:{domain}-{server}-{one}")
    assert f"up to {domain}-{server}-{one}" in done.stderr
    with found as up:
        lacking = len(writer.done_ns) - len(ids(up))
    assert 0 <= lacking <= int(sequence) - one


def test_after_kill_9_of_the_server_the_repository_alone_gives_the_last_seconds(
    kept, maria, writer
) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        stream.wait_for("following its log")
        writer.wait_for(400)
        killed_ns = time.time_ns()
        maria.kill()
        writer.end()
        stream.wait_for("trying again")
    _, found = restored(kept)
    with found as up:
        rows = ids(up)
        mark_ns = up.newest_mark_ns()
        assert up.health().ok
    done, _ = restored(kept, "--at", utc(time.time_ns() // 10**9))
    assert "the stored log ends before that time" in done.stderr
    assert mark_ns
    lost = len(writer.done_ns) - len(rows)
    rpa_seconds = (killed_ns - mark_ns) / 1e9
    sys.stdout.write(f"rows lost: {lost}; RPA by the marker: {rpa_seconds:.2f} s\n")
    assert rows == list(range(1, len(rows) + 1))
    assert writer.confirmed_before(killed_ns - 3 * 10**9) <= len(rows)
    assert rpa_seconds < 5


def test_who_locks_the_markers_table_stops_no_stream(kept, maria) -> None:
    """Marks go on once that has ended."""
    made = "select 1 from information_schema.tables where table_schema = 'drctl'"
    newest = "select coalesce(max(at_ns), 0) from drctl.marker"
    with streaming(kept) as stream:
        stream.wait_for("following its log")
        stream.wait_for_it(lambda: maria.ask(made))
        with closing(maria.connect()) as other:
            other.cursor().execute("lock tables drctl.marker write")
            maria.ask("create database seen")
            stream.wait_until_stored(*position(maria))
            stream.wait_for("shop: no marker is written: ")
            then_ns = time.time_ns()
        stream.wait_for_it(lambda: maria.ask(newest)[0][0] > then_ns)


def test_what_is_stored_is_the_servers_binlog_to_the_byte_also_across_crashes_and_restarts(
    kept, maria
) -> None:
    maria.ask("create database app")
    maria.ask("create table app.big (id int primary key auto_increment, v longblob) engine=InnoDB")
    with streaming(kept) as stream:
        for _ in range(3):
            maria.ask("insert into app.big (v) values (repeat('a', 7000000))")
        stream.wait_until_stored(*position(maria))
    forget_from(kept, 16 << 20)
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
        maria.kill()
        maria.start()
        maria.ask("insert into app.big (v) values (repeat('b', 1000))")
        stream.wait_until_stored(*position(maria))
    maria.ask("insert into app.big (v) values ('while nobody followed')")
    maria.ask("create table app.mine (a int) engine=MyISAM")
    maria.ask("insert into app.mine values (1), (2)")
    maria.ask("flush binary logs")
    maria.ask("begin")
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    log = log_of(kept)
    stored = by_file(log.pieces())
    names = sorted(path.name for path in maria.datadir.glob("binlog.0*"))
    assert list(stored) == names
    for name in names:
        data = bytearray((maria.datadir / name).read_bytes())
        binlog.as_closed(data, 0)
        got = bytearray(stored[name].size)
        for piece in stored[name].pieces:
            got[piece.offset : piece.end] = log.read(piece)
        # The stream's own marker may have come into the last file after the stream had ended.
        assert got == (data if name != names[-1] else data[: len(got)])
        assert stored[name].whole == (name != names[-1])
        assert gtids_of(maria.datadir / name) == [g.gtid for g in binlog.groups(data)]


def forget_from(site, offset: int) -> None:
    """As a run leaves it that is killed between two pieces: an event is stored in part."""
    forgotten = [
        path
        for path in (site.top / "local/log").glob("*/*")
        if int(path.name.split(".")[2], 16) >= offset
    ]
    assert forgotten
    for path in forgotten:
        shutil.rmtree(path)


def gtids_of(path: Path) -> list[str]:
    """As MariaDB's own program reads a binlog."""
    argv = [str(find_program("mariadb-binlog")), "--no-defaults", str(path)]
    text = subprocess.run(argv, capture_output=True, check=True).stdout.decode("utf-8", "replace")
    return re.findall(r"\tGTID (\d+-\d+-\d+)", text)


def test_nothing_is_ever_replayed_twice_and_passwords_and_events_that_come_along_do_not_stop_it(
    kept, maria, writer
) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        writer.wait_for(20)
        writer.end()
        maria.ask("create database ticking")
        maria.ask("create event ticking.each_second on schedule every 1 second do set @a = 1")
        file, size = position(maria)
        maria.ask("set password for root@localhost = password('came along')")
        stream.wait_until_stored(file, size + 100)
    kept.run("restore", "shop", "--to", "back")
    done = kept.run("restore", "shop", "--to", "back", code=9)
    assert "is not empty" in done.stderr
    with standing(kept.top / "back") as up:
        assert len(ids(up)) == len(writer.done_ns)
        assert up.query("select name from mysql.event") == (("each_second",),)
        assert up.query("select user from mysql.user where user like 'drctl-%'") == ()


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("lsn:0/3000028", "has no lsn to stop at"),
        ("gtid:0-7-99999999", "does not hold 0-7-99999999: it reaches"),
        ("gtid:0-7-1", "past 0-7-1"),
        ("gtid:yesterday", "is not one GTID"),
    ],
)
def test_a_goal_that_is_not_on_the_way_is_told(kept, maria, until, said) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    assert said in kept.run("restore", "shop", "--to", "back", "--until", until, code=2).stderr
    assert not (kept.top / "back").exists()


def servers_on(datadir: Path) -> list[str]:
    """The programs that run on a data directory."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = place.read_bytes().split(b"\0")
            found += [place.parent.name] if f"--datadir={datadir}".encode() in words else []
    return found


def test_a_restore_that_is_killed_while_it_replays_leaves_no_server_and_nothing_that_looks_whole(
    kept, maria
) -> None:
    """The statement takes a minute where the row says so, as it did when the base was taken."""
    maria.ask("create database own")
    maria.ask("create table own.seconds (n int)")
    maria.ask("create table own.slept (n int)")
    maria.ask("insert into own.seconds values (60)")
    kept.json("backup")
    with closing(maria.connect()) as connection, connection.cursor() as cursor:
        for words in ("set sql_log_bin = 0", "update own.seconds set n = 0",
                      "set sql_log_bin = 1", "set binlog_format = statement",
                      "insert into own.slept select sleep(n) from own.seconds"):  # fmt: skip
            cursor.execute(words)
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    to = kept.top / "killed"
    process = kept.start("restore", "shop", "--to", to)
    deadline = time.monotonic() + 60
    while not servers_on(to):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    while servers_on(to):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (to / ".drctl-restore-unfinished").exists()
    left = kept.top / "killed.drctl-binlogs"
    assert list(left.iterdir())
    done = kept.run("restore", "shop", "--to", to, code=9)
    assert "holds what a restore left that was interrupted" in done.stderr
    assert not left.exists()
    kept.run("restore", "shop", "--to", kept.top / "whole", "--until", "immediate")
    assert not (kept.top / "whole/.drctl-restore-unfinished").exists()


def test_without_a_binlog_streaming_is_refused_and_a_base_says_so(kept, maria) -> None:
    maria.stop()
    maria.start("--skip-log-bin")
    done = kept.run("backup")
    assert "log_bin is off" in done.stderr
    with streaming(kept) as stream:
        stream.wait_for("there is no binlog to be stored")
    kept.run("restore", "shop", "--to", "back")
