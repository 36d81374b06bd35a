"""MariaDB's binlog in the repository: what was committed comes back, to any instant, or it is told
why not."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mariadb_servers import PLAN, ids, standing

from drctl import plan as plans
from drctl.codec.keys import decode_identity
from drctl.engines import mariadb_binlog as binlog
from drctl.engines.base import LATEST
from drctl.engines.child import find_program
from drctl.engines.mariadb_replay import Position, find_way, refuse_missing
from drctl.errors import StorageError
from drctl.events import Silent
from drctl.logpieces import by_file
from drctl.repository.log import LogReader
from drctl.wiring import Wiring

INSTANTS = int(os.environ.get("DRCTL_TEST_INSTANTS", "3"))
STREAM = ", stream: true, store_every: 200ms, mark_every: 500ms"


@pytest.fixture
def kept(shop, maria):
    """The server's binlog is to be kept."""
    shop.plan(PLAN.format(socket=maria.socket, more=STREAM))
    return shop


class Stream:
    """`drctl stream`, running."""

    def __init__(self, site) -> None:
        self._site = site
        self._log = (site.top / "stream.log").open("a+")
        self.process = subprocess.Popen(
            site.argv("stream"), env=site.environment(), cwd=site.top,
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def said(self) -> str:
        return (self._site.top / "stream.log").read_text()

    def wait_for(self, words: str, times: int = 1) -> None:
        self._wait(lambda: self.said.count(words) >= times)

    def wait_for_another_series(self, before: set[Path], size: int) -> None:
        """So much of its first file is in the repository."""

        def is_stored() -> bool:
            new = series_of(self._site) - before
            return any(reach_of(path.name)[1] >= size for top in new for path in top.iterdir())

        self._wait(is_stored)

    def _wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not until():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def wait_until_stored(self, file: str, size: int) -> None:
        """So much of a file is in the repository."""
        deadline = time.monotonic() + 60
        while stored_sizes(self._site).get(file, 0) < size:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, (stored_sizes(self._site), file, size, self.said)
            time.sleep(0.05)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()
        assert "Traceback" not in self.said, self.said


@contextmanager
def streaming(site) -> Iterator[Stream]:
    made = Stream(site)
    try:
        yield made
    finally:
        made.end()


def stored_sizes(site) -> dict[str, int]:
    """How far each file reaches, from the names of the objects alone."""
    found: dict[str, int] = {}
    for path in (site.top / "local/log").glob("*/*"):
        file, reach = reach_of(path.name)
        found[file] = max(found.get(file, 0), reach)
    return found


def reach_of(name: str) -> tuple[str, int]:
    """A piece's file, and where in it the piece ends."""
    file, offset, size, *_ = re.fullmatch(
        r"(.+)\.([0-9a-f]{16})\.([0-9a-f]{8})\.\w+\.\w+", name
    ).groups()  # type: ignore[union-attr]
    return file, int(offset, 16) + int(size, 16)


def position(maria) -> tuple[str, int]:
    file, at, *_ = maria.ask("show master status")[0]
    return str(file), int(at)


def utc(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def restored(site, *words: str):
    """What the probe finds after a restore with these words."""
    to = site.top / f"back-{len(list(site.top.glob('back-*')))}"
    done = site.run("restore", "shop", "--to", to, *words)
    return done, standing(to)


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
        stream.wait_until_stored(*position(maria))
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
    gtid = maria.ask("select binlog_gtid_pos(%s, %s)", *position(maria))[0][0]
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


def log_of(site) -> LogReader:
    """The log of the site's asset, read with the identity."""
    wiring = Wiring(plans.load(str(site.top / "plan.yaml")), Silent())
    text = (site.top / "keys/identity.key").read_text()
    identity = decode_identity(text, "correct horse")
    folder = next((site.top / "local/log").iterdir()).name
    return LogReader(wiring.as_reader("local", identity), identity, folder)


def test_a_purged_binlog_is_a_gap_that_is_told_and_a_new_base_closes(kept, maria, writer) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    writer.wait_for(20)
    for _ in range(3):
        maria.ask("flush binary logs")
        writer.wait_for(5)
    maria.ask("purge binary logs to %s", position(maria)[0])
    with streaming(kept) as stream:
        stream.wait_for("take a new base")
        assert "the log has a gap: binlog.00000" in stream.said
        writer.wait_for(20)
        stream.wait_until_stored(*position(maria))
        done = kept.run("restore", "shop", "--to", "never", code=5)
        assert "the log has a gap" in done.stderr
        assert "take a new base" in done.stderr
        _, found = restored(kept, "--until", "immediate")
        with found as up:
            assert up.health().ok
        kept.run("backup")
        writer.end()
        stream.wait_until_stored(*position(maria))
    _, found = restored(kept)
    with found as up:
        assert len(ids(up)) == len(writer.done_ns)


def test_a_gap_before_the_newest_file_alone_is_never_the_end_of_the_log(kept, maria) -> None:
    """The rest of a file was purged, and exactly one file follows, which the stream has not
    finished."""
    maria.ask("create database own")
    maria.ask("create table own.t (id int primary key)")
    kept.json("backup")
    maria.ask("insert into own.t values (1)")
    file, at = position(maria)
    ((before,),) = maria.ask("select @@gtid_binlog_pos")  # the stream's own marker may come last
    with streaming(kept) as stream:
        stream.wait_until_stored(file, at)
    maria.ask("insert into own.t values (2)")
    ((lost,),) = maria.ask("select @@gtid_binlog_pos")
    maria.ask("flush binary logs")
    deadline = time.monotonic() + 60
    while maria.ask("show binary logs")[0][0] == file:  # as long as the server is sending it
        maria.ask("purge binary logs to %s", position(maria)[0])
        assert time.monotonic() < deadline
    with streaming(kept) as stream:
        stream.wait_for("take a new base")
        maria.ask("insert into own.t values (3)")
        stream.wait_until_stored(*position(maria))
    for to, *words in (("never",), ("neither", "--until", f"gtid:{lost}")):
        done = kept.run("restore", "shop", "--to", to, *words, code=5)
        assert f"the log has a gap: {file} is there up to byte" in done.stderr
        assert not (kept.top / to).exists()
    _, found = restored(kept, "--until", f"gtid:{before}")
    with found as up:
        assert up.query("select max(id) from own.t") == (("1",),)
    assert f"{file} is not whole" in kept.run("status", code=10).stdout.replace("\n    ", " ")
    assert f"{file} is not whole" in kept.run("verify", code=6).stderr
    kept.json("backup")
    kept.run("verify")
    _, found = restored(kept, "--until", f"gtid:{before}")  # from the snapshot that leads there
    with found as up:
        assert up.query("select max(id) from own.t") == (("1",),)


def test_a_log_that_lacks_a_piece_or_has_a_damaged_one_never_gives_wrong_data(
    kept, maria, writer
) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        for _ in range(2):
            writer.wait_for(20)
            maria.ask("flush binary logs")
        writer.end()
        stream.wait_until_stored(*position(maria))
    names = sorted(stored_sizes(kept))
    middle = next((kept.top / "local/log").glob(f"*/{names[-2]}.*"))
    (piece,) = middle.iterdir()
    data = piece.read_bytes()
    piece.chmod(0o600)
    piece.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert names[-2] in kept.run("restore", "shop", "--to", "damaged", code=6).stderr
    piece.write_bytes(data[: len(data) // 2])
    kept.run("restore", "shop", "--to", "cut", code=6)
    piece.unlink()
    middle.rmdir()
    done = kept.run("restore", "shop", "--to", "lacking", code=5)
    assert f"the log has a gap: {names[-2]} is missing" in done.stderr


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
    done = kept.run("restore", "shop", "--to", to, code=9)
    assert "holds what a restore left that was interrupted" in done.stderr
    kept.run("restore", "shop", "--to", kept.top / "whole", "--until", "immediate")
    assert not (kept.top / "whole/.drctl-restore-unfinished").exists()


def rows_of(site, *words: str) -> tuple[str, ...]:
    _, found = restored(site, *words)
    with found as up:
        return tuple(row[0] for row in up.query("select i from own.nokey order by i"))


def series_of(site) -> set[Path]:
    return set((site.top / "local/log").iterdir())


def test_binlogs_begun_anew_while_they_are_followed_are_never_replayed_onto_another_base(
    kept, maria
) -> None:
    """Names and positions of the new ones are those of the stored ones, and no key keeps rows
    from coming twice."""
    kept.plan((kept.top / "plan.yaml").read_text().replace(", mark_every: 500ms", ""))
    maria.ask("create database own")
    maria.ask("create table own.nokey (i int)")
    maria.ask("reset master")
    with streaming(kept) as stream:
        stream.wait_for("following its log")
        first = kept.json("backup")["snapshots"][0]["id"]
        maria.ask("insert into own.nokey values (1), (2), (3)")
        stream.wait_until_stored(*position(maria))
        before = series_of(kept)
        maria.ask("reset master")
        done = kept.run("backup")
        assert "do not continue what is stored" in done.stderr
        stream.wait_for("begun anew")
        maria.ask("insert into own.nokey values (4)")
        stream.wait_for_another_series(before, position(maria)[1])
    assert rows_of(kept) == ("1", "2", "3", "4")
    assert rows_of(kept, "--until", "immediate") == ("1", "2", "3")
    kept.run("restore", first, "--to", kept.top / "older")
    with standing(kept.top / "older") as up:
        assert len(up.query("select i from own.nokey")) == 3
    kept.run("verify")


def test_binlogs_begun_anew_while_nobody_follows_are_kept_as_a_log_of_their_own(
    kept, maria
) -> None:
    with streaming(kept) as stream:
        maria.ask("flush binary logs")
        stream.wait_until_stored(*position(maria))
    before = {path: sorted(path.iterdir()) for path in series_of(kept)}
    maria.ask("reset master")
    maria.ask("create database own")
    with streaming(kept) as stream:
        stream.wait_for("take a new base with 'drctl backup shop'")
        stream.wait_for_another_series(set(before), position(maria)[1])
    with streaming(kept) as stream:
        stream.wait_for("following its log", 3)
    assert stream.said.count("were begun anew") == 1
    assert len(series_of(kept)) == 2
    assert all(sorted(path.iterdir()) == pieces for path, pieces in before.items())


def test_a_snapshot_of_another_series_than_the_log_is_refused_before_anything_is_written(
    kept, maria
) -> None:
    """As an older drctl left it: the log of one series under the name of another's base."""
    file, at = position(maria)
    with streaming(kept) as stream:
        stream.wait_until_stored(file, at)
    log = log_of(kept)
    stands = Position(file, at, {}, "0" * 64)
    with pytest.raises(StorageError, match="is not the one that the snapshot was taken in"):
        refuse_missing(stands, log, LATEST)
    older = Position(file, at, {0: (7, 1)})
    with (
        pytest.raises(StorageError, match="is not the one that the snapshot was taken in"),
        tempfile.TemporaryDirectory() as folder,
    ):
        find_way(older, log, LATEST, folder)


def test_without_a_binlog_streaming_is_refused_and_a_base_says_so(kept, maria) -> None:
    maria.stop()
    maria.start("--skip-log-bin")
    done = kept.run("backup")
    assert "log_bin is off" in done.stderr
    with streaming(kept) as stream:
        stream.wait_for("there is no binlog to be stored")
    kept.run("restore", "shop", "--to", "back")
