"""Every engine keeps one contract, whatever it reads."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from btrfs_volumes import IS_ROOT, mounted
from redis_servers import started
from servers import ACCESS_KEY, SECRET_KEY

from drctl.clock import SystemClock
from drctl.engines import btrfs, command, files, redis, s3bucket, sqlite
from drctl.engines.base import Engine, Item, Source, Surroundings
from drctl.engines.sqlite import integrity
from drctl.errors import TargetRefused
from drctl.events import Silent
from drctl.model import Entry, Kind, sort_key
from drctl.ops.restore import content_bytes

WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
print("ready", flush=True)
for i in range(1_000_000):
    database.execute("insert into t (v) values (?)", (f"live {i}",))
"""


def make_files(top: Path, _: pytest.FixtureRequest) -> files.Settings:
    tree = top / "live" / "tree"
    (tree / "b" / "c").mkdir(parents=True)
    for name in ("a", "a b", "b/x", "b/c/y", "b-c"):
        (tree / name).write_text(name)
    (tree / "large").write_bytes(os.urandom(3 << 20))
    return files.Settings(paths=(str(tree),))


def make_sqlite(top: Path, _: pytest.FixtureRequest | None) -> sqlite.Settings:
    (top / "live").mkdir(exist_ok=True)
    with closing(sqlite3.connect(top / "live/base.db")) as database, database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table t (id integer primary key, v text)")
        database.executemany("insert into t (v) values (?)", [("row",)] * 5000)
    return sqlite.Settings(path=str(top / "live/base.db"))


def make_command(top: Path, _: pytest.FixtureRequest) -> command.Settings:
    (top / "live").mkdir(exist_ok=True)
    return command.Settings(run=("sh", "-c", "seq 1 100000; sleep 0.05"), name="numbers")


def make_redis(_: Path, request: pytest.FixtureRequest) -> redis.Settings:
    stack = ExitStack()
    request.addfinalizer(stack.close)
    server = stack.enter_context(started())
    server.fill()
    return redis.Settings(host=server.socket)


def make_s3bucket(_: Path, request: pytest.FixtureRequest) -> s3bucket.Settings:
    server = request.getfixturevalue("s3_server")
    bucket = server.new_bucket()
    for name in ("a", "a b", "b/x", "b/c/y", "b-c", "empty"):
        server.client().put_object(Bucket=bucket, Key=name, Body=name.encode() * (name != "empty"))
    server.client().put_object(Bucket=bucket, Key="large", Body=os.urandom(9 << 20))
    held = {"access_key": "env:ACCESS", "secret_key": "env:SECRET"}
    place = {"bucket": bucket, "endpoint": server.endpoint, "credentials": held}
    return s3bucket.Settings.model_validate(place)


def make_btrfs(_: Path, request: pytest.FixtureRequest) -> btrfs.Settings:
    stack = ExitStack()
    request.addfinalizer(stack.close)
    data = stack.enter_context(mounted())
    (data / "b").mkdir()
    for name in ("a", "a b", "b/x", "b-c"):
        (data / name).write_text(name)
    (data / "large").write_bytes(os.urandom(3 << 20))
    return btrfs.Settings(path=str(data))


SECRETS = {"env:ACCESS": ACCESS_KEY, "env:SECRET": SECRET_KEY}
ENGINES = {
    "files": (files.ENGINE, make_files),
    "sqlite": (sqlite.ENGINE, make_sqlite),
    "command": (command.ENGINE, make_command),
    "redis": (redis.ENGINE, make_redis),
    "s3bucket": (s3bucket.ENGINE, make_s3bucket),
    # Who is not root has no device to make one on: tests/e2e/test_btrfs.py proves the refusal.
    **({"btrfs": (btrfs.ENGINE, make_btrfs)} if IS_ROOT else {}),
}
DIRECTORIES = ("files", "redis", "s3bucket", "btrfs")  # what comes back as a directory


class Case:
    """An engine with something live to read."""

    def __init__(self, engine: Engine, settings: object, top: Path) -> None:
        self.engine, self.settings, self.top = engine, settings, top
        (top / "scratch").mkdir()

    def around(self) -> Surroundings:
        top, scratch = str(self.top), str(self.top / "scratch")
        return Surroundings(SystemClock(), Silent(), top, scratch, secret=SECRETS.__getitem__)

    def source(self) -> Source:
        return self.engine.source(self.settings, "asset", self.around())

    def read_all(self) -> list[tuple[Entry, bytes]]:
        with self.source().open() as capture:
            return [read(item) for item in capture.items()]

    def restore(self, read: list[tuple[Entry, bytes]], to: Path) -> None:
        target = self.engine.target(None, str(to), {}, self.around())
        target.prepare()
        for entry, data in read:
            if entry.kind != Kind.FILE:
                assert target.put_plain(entry) is None
            elif len(data) > 1 << 20:
                writing = target.open_large(entry)
                writing.write(data[:1000])
                writing.write(data[1000:])
                assert writing.close() is None
            else:
                assert target.put_small(entry, data) is None
        assert target.finish() == ()


def read(item: Item) -> tuple[Entry, bytes]:
    content = item.content
    if content is None:
        return item.entry(), b""
    if 0 <= content.size_hint <= 1 << 19:
        return content.load(item.entry())
    stream = content.stream(item.entry())
    data = b"".join(stream)
    return stream.entry, data


@pytest.fixture(params=ENGINES)
def case(request, tmp_path: Path) -> Case:
    engine, make = ENGINES[request.param]
    return Case(engine, make(tmp_path, request), tmp_path)


def open_descriptors() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
            if os.path.islink(f"/proc/self/fd/{n}")}  # fmt: skip


def children() -> list[str]:
    found: list[str] = []
    for thread in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found += (thread / "children").read_text().split()
    return found


def test_items_come_in_order_and_are_whole(case) -> None:
    read = case.read_all()
    keys = [sort_key(entry.path) for entry, _ in read]
    assert keys == sorted(set(keys))
    assert all(entry.problem == "" for entry, _ in read)
    assert all(len(data) == content_bytes(entry) for entry, data in read if entry.kind == Kind.FILE)


def test_the_consistent_point_lies_between_opening_and_reading(case) -> None:
    before = time.time_ns()
    with case.source().open() as capture:
        list(map(read, capture.items()))
        assert before <= capture.consistent_at_ns <= time.time_ns()


def test_facts_are_words_without_paths_or_content(case) -> None:
    with case.source().open() as capture:
        list(map(read, capture.items()))
        facts = capture.facts
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in facts.items())
    assert not any("/" in value or str(case.top) in value for value in facts.values())


def test_what_comes_back_is_what_was_read(case, tmp_path) -> None:
    before = case.read_all()
    to = tmp_path / "back" if case.engine.kind in DIRECTORIES else tmp_path / "back.file"
    case.restore(before, to)
    with case.engine.probe(case.settings, str(to), case.around()).open() as standing:
        assert standing.health().ok
        assert all(standing.counts().values())
    if case.engine.kind == "sqlite":
        with closing(sqlite3.connect(to)) as database:
            assert integrity(database) == ""
            assert database.execute("select count(*) from t").fetchone() == (5000,)
    elif case.engine.kind == "command":
        assert to.read_bytes() == before[0][1]
    elif case.engine.kind == "redis":
        assert (to / "dump.rdb").read_bytes() == before[0][1]
    elif case.engine.kind == "s3bucket":
        found = {str(path.relative_to(to)): path for path in to.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in found.items()} == {
            entry.path.decode(): data for entry, data in before
        }
    else:
        (tmp_path / "again").mkdir()
        again = Case(files.ENGINE, files.Settings(paths=(str(to),)), tmp_path / "again")
        assert [(e.path, d) for e, d in again.read_all()] == [(e.path, d) for e, d in before]


def test_a_target_that_holds_something_is_refused_and_untouched(case, tmp_path) -> None:
    to = tmp_path / "taken"
    if case.engine.kind in DIRECTORIES:
        to.mkdir()
        (to / "mine").write_text("mine")
    else:
        to.write_text("mine")
    with pytest.raises(TargetRefused):
        case.restore(case.read_all(), to)
    assert (to / "mine" if to.is_dir() else to).read_text() == "mine"


@pytest.mark.parametrize("items", [0, 1])
def test_a_capture_that_is_left_early_lets_go_of_everything(case, items) -> None:
    case.read_all()
    before, others = open_descriptors(), children()
    with case.source().open() as capture:
        found: Iterator[Item] = iter(capture.items())
        for _ in range(items):
            next(found)
        del found
    assert children() == others
    assert list((case.top / "scratch").iterdir()) == []
    assert {d for d in open_descriptors() - before if str(case.top) in d} == set()


def test_reading_changes_nothing_that_is_live(case) -> None:
    """A reader of a database in WAL mode may leave an empty log beside it; rows are never there."""

    def state() -> dict[str, tuple[int, int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes())
            for path in (case.top / "live").rglob("*")
            if path.is_file() and not path.name.endswith("-shm") and path.stat().st_size
        }

    before = state()
    case.read_all()
    assert state() == before


def test_a_database_under_load_is_not_held_up_and_its_copy_is_whole(tmp_path) -> None:
    case = Case(sqlite.ENGINE, make_sqlite(tmp_path, None), tmp_path)
    argv = [sys.executable, "-c", WRITER, str(tmp_path / "live/base.db")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout
            assert writer.stdout.readline() == "ready\n"
            counts = [(5000, 5000)]
            for i in range(3):
                wait_for_more(tmp_path / "live/base.db", counts[-1][1])
                case.restore(case.read_all(), tmp_path / f"back-{i}")
                with closing(sqlite3.connect(tmp_path / f"back-{i}")) as database:
                    assert integrity(database) == ""
                    counts.append(database.execute("select count(*), max(id) from t").fetchone())
            assert writer.poll() is None, "the writer was locked out"
        finally:
            writer.kill()
    assert all(count == last for count, last in counts), "a row is missing in the middle"
    assert counts[0] < counts[1] < counts[2] < counts[3]


def wait_for_more(live: Path, rows: int) -> None:
    """Until what is written has more."""
    end = time.monotonic() + 60
    with closing(sqlite3.connect(live)) as database:
        while database.execute("select max(id) from t").fetchone()[0] <= rows:
            assert time.monotonic() < end
            time.sleep(0.01)
