"""A restore never leaves its target, whatever a repository says or another user does meanwhile."""

import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drctl.engines.tree_write import TreeTarget
from drctl.engines.unfinished import MARK
from drctl.errors import Busy, TargetRefused
from drctl.model import Entry, Kind

FILE, DIRECTORY, SYMLINK = int(Kind.FILE), int(Kind.DIRECTORY), int(Kind.SYMLINK)


@pytest.fixture
def target(tmp_path: Path) -> TreeTarget:
    made = TreeTarget(str(tmp_path / "back"))
    made.prepare()
    return made


def everything(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


@pytest.mark.parametrize(
    "path", [b"../outside", b"a/../../outside", b"../../etc/x", b"a/./b", b"a//b", b"..", b"a/.."]
)
def test_a_path_that_leads_out_is_not_followed(target, tmp_path, path) -> None:
    problem = target.put_small(Entry(path, FILE, 0o644, size=4), b"evil")
    target.finish()
    assert problem is not None
    assert not (tmp_path / "outside").exists()
    assert "outside" not in str(everything(tmp_path))


def test_an_absolute_path_stays_below_the_target(target, tmp_path) -> None:
    outside = tmp_path / "outside"
    target.put_small(Entry(os.fsencode(outside), FILE, 0o644, size=4), b"evil")
    target.finish()
    assert not outside.exists()


def test_nothing_is_written_through_a_link_that_the_snapshot_made(target, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    assert target.put_plain(Entry(b"door", SYMLINK, 0o777, link=os.fsencode(outside))) is None
    problem = target.put_small(Entry(b"door/evil", FILE, 0o644, size=4), b"evil")
    target.finish()
    assert problem is not None
    assert everything(outside) == []


def test_a_hard_link_reaches_nothing_outside(target, tmp_path) -> None:
    (tmp_path / "secret").write_text("secret")
    target.put_plain(Entry(b"evil", int(Kind.HARDLINK), link=b"../secret"))
    problems = target.finish()
    assert len(problems) == 1
    assert everything(tmp_path / "back") == []


def test_what_was_made_is_never_overwritten(target, tmp_path) -> None:
    assert target.put_small(Entry(b"same", FILE, 0o644, size=5), b"first") is None
    assert target.put_small(Entry(b"same", FILE, 0o644, size=6), b"second") is not None
    target.finish()
    assert (tmp_path / "back/same").read_text() == "first"


def test_a_large_file_that_is_given_up_leaves_nothing(target, tmp_path) -> None:
    writing = target.open_large(Entry(b"large", FILE, 0o644, size=10 << 20))
    writing.write(b"x" * (1 << 20))
    writing.abort()
    target.finish()
    assert everything(tmp_path / "back") == []


def test_what_a_killed_restore_left_at_the_source_comes_back(target, tmp_path) -> None:
    """Though a file is being written under a name of that kind."""
    writing = target.open_large(Entry(b"large", FILE, 0o644))
    assert target.put_small(Entry(b".drctl-partial-1", FILE, 0o644, size=4), b"left") is None
    assert writing.close() is None
    target.finish()
    assert everything(tmp_path / "back") == [".drctl-partial-1", "large"]


@contextmanager
def no_file_above(size_bytes: int) -> Iterator[None]:
    """As FAT, which holds none of 4 GiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def sparse(path: bytes, size: int) -> Entry:
    return Entry(path, FILE, 0o644, size=size, extents=(0, 1))


def test_a_file_that_the_target_cannot_hold_keeps_no_other_from_coming_back(
    target, tmp_path
) -> None:
    with no_file_above(3 << 20):
        large = target.open_large(Entry(b"large", FILE, 0o644, size=4 << 20))
        for start in range(0, 4 << 20, 1 << 20):
            large.write_at(start, [b"x" * (1 << 20)])
        hollow = target.open_large(sparse(b"hollow", 4 << 20))
        hollow.write(b"x")
        problems = large.close(), hollow.close(), target.put_small(sparse(b"small", 4 << 20), b"x")
    assert target.put_small(Entry(b"other", FILE, 0o644, size=1), b"x") is None
    assert [(problem.path, problem.absent) for problem in problems if problem] == [
        (b"large", True),
        (b"hollow", True),
        (b"small", True),
    ]
    assert all("large" in problem.what for problem in problems if problem)
    target.finish()
    assert everything(tmp_path / "back") == ["other"]


def test_nobody_else_may_enter_before_it_is_done(target, tmp_path) -> None:
    assert (tmp_path / "back").stat().st_mode & 0o077 == 0
    target.put_plain(Entry(b".", DIRECTORY, 0o755, os.geteuid(), os.getegid()))
    target.finish()
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o755


def test_a_directory_that_was_there_keeps_its_own_mode(tmp_path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o750)
    target = TreeTarget(str(tmp_path / "there"))
    target.prepare()
    target.put_small(Entry(b"part", FILE, 0o600, os.geteuid(), os.getegid(), size=1), b"x")
    assert target.finish() == ()
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o750


def test_a_directory_that_holds_something_is_refused(tmp_path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(TargetRefused, match="is not empty"):
        TreeTarget(str(tmp_path)).prepare()


def test_a_file_in_the_way_is_refused(tmp_path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(TargetRefused):
        TreeTarget(str(tmp_path / "mine")).prepare()


def test_holes_are_written_as_holes(target, tmp_path) -> None:
    entry = Entry(b"sparse", FILE, 0o644, size=1 << 20, extents=(4096, 5, 1 << 19, 5))
    assert target.put_small(entry, b"firstother") is None
    target.finish()
    data = (tmp_path / "back/sparse").read_bytes()
    assert data[4096:4101] == b"first"
    assert data[1 << 19 : (1 << 19) + 5] == b"other"
    assert data.count(0) == (1 << 20) - 10
    assert (tmp_path / "back/sparse").stat().st_blocks * 512 < 1 << 18


KILLED = """
import os, signal, sys
from drctl.engines.tree_write import TreeTarget
from drctl.model import Entry, Kind
target = TreeTarget(sys.argv[1])
target.prepare()
target.put_small(Entry(b"a", int(Kind.FILE), 0o644, size=1), b"a")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_pieces_of_a_sparse_file_come_in_any_order(target, tmp_path) -> None:
    entry = Entry(b"sparse", FILE, 0o644, size=1 << 20, extents=(4096, 5, 1 << 19, 5))
    writing = target.open_large(entry)
    for offset, piece in ((8, b"er"), (10, b"beyond the end"), (0, b"firs"), (4, b"toth")):
        writing.write_at(offset, [piece[:2], piece[2:]])
    assert writing.close() is None
    target.finish()
    data = (tmp_path / "back/sparse").read_bytes()
    assert data[4096:4101] == b"first"
    assert data[1 << 19 : (1 << 19) + 5] == b"other"
    assert data.count(0) == (1 << 20) - 10


def test_what_an_interrupted_restore_left_is_told_apart_and_goes_when_asked(tmp_path) -> None:
    there = tmp_path / "it's back"
    subprocess.run([sys.executable, "-c", KILLED, str(there)], check=False)
    assert (there / "a").exists()
    with pytest.raises(TargetRefused, match="that was interrupted") as caught:
        TreeTarget(str(there)).prepare()
    line = caught.value.hint.partition(": ")[2].partition(",")[0]
    subprocess.run(shlex.split(line), check=True)
    again = TreeTarget(str(there))
    again.prepare()
    with pytest.raises(Busy, match="restores there right now"):
        TreeTarget(str(there)).prepare()
    again.finish()
    assert everything(there) == []


def test_an_entry_may_have_the_name_of_the_mark(target, tmp_path) -> None:
    assert (
        target.put_small(Entry(MARK, FILE, 0o644, os.geteuid(), os.getegid(), size=4), b"mine")
        is None
    )
    assert target.finish() == ()
    assert (tmp_path / "back" / os.fsdecode(MARK)).read_bytes() == b"mine"


def test_pieces_in_any_number_come_back_and_nothing_beyond_the_files_end(target, tmp_path) -> None:
    pieces = [bytes([number % 251]) for number in range(3000)]  # more than one call takes
    writing = target.open_large(Entry(b"large", FILE, 0o644, size=2999))
    writing.write_at(10, pieces[10:])
    writing.write_at(0, pieces[:10])
    assert writing.close() is None
    target.finish()
    assert (tmp_path / "back/large").read_bytes() == b"".join(pieces)[:2999]
