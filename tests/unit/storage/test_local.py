"""A directory as storage: whole or not there, private, and clear when the disk fails."""

import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from drctl.durable import sync_directory, sync_names
from drctl.errors import AlreadyExists, NotFound, StorageError
from drctl.storage.local import Local, _name_new

WRITER = """
import os, sys
from drctl.storage.local import Local
storage = Local(sys.argv[1])
data = os.urandom(8 << 20)
print("ready", flush=True)
for i in range(10_000):
    storage.put(f"packs/{i % 7}/{i}", data)
"""

SYNCED = """
import os, sys
from drctl.storage.local import Local

def told(event, args):  # a directory is opened to be synced
    if event == "open" and isinstance(args[2], int) and args[2] & os.O_DIRECTORY:
        print(args[0])

sys.addaudithook(told)
Local(sys.argv[1]).put(sys.argv[2], b"data")
"""
CREATED = SYNCED.replace('.put(sys.argv[2], b"data")', ".create()")


@pytest.fixture
def local(tmp_path: Path) -> Local:
    storage = Local(str(tmp_path / "repository"))
    storage.create()
    return storage


def test_what_is_made_is_private_whatever_the_mask(local, tmp_path) -> None:
    before = os.umask(0)
    try:
        local.put("packs/ab/object", b"data")
    finally:
        os.umask(before)
    for path in (tmp_path / "repository", *(tmp_path / "repository").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_put_that_is_killed_leaves_whole_objects_or_none(tmp_path) -> None:
    local = Local(str(tmp_path / "repository"))
    local.create()
    for wait in (0.01, 0.05, 0.1, 0.2, 0.3):
        argv = [sys.executable, "-c", WRITER, str(tmp_path / "repository")]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(wait)
        process.kill()
        process.communicate()
        for info in list(local.list()):
            assert info.size_bytes == 8 << 20
            local.delete(info.name)


def test_what_killed_runs_left_is_swept_after_a_day(local, tmp_path) -> None:
    folder = tmp_path / "repository" / "tmp"
    folder.mkdir(mode=0o700)
    old, new = folder / "old", folder / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000, time.time() - 90_000))
    assert list(local.list()) == []
    assert (old.exists(), new.exists()) == (False, True)


def test_a_put_under_way_on_a_file_server_whose_clock_is_years_behind_is_left(
    local, tmp_path
) -> None:
    """Its files bear the server's time. Whoever listed took those for old, and removed them."""
    folder = tmp_path / "repository" / "tmp"
    folder.mkdir(mode=0o700)
    (folder / "new").write_bytes(b"half")
    for path in (folder / "new", folder):
        os.utime(path, (1_000, 1_000))
    assert list(local.list()) == []
    assert (folder / "new").exists()


def test_an_object_that_a_file_server_named_though_its_answer_was_lost_is_there(tmp_path) -> None:
    """The kernel asks NFS once more then, and hears that the name is taken."""
    temporary, other, path = (str(tmp_path / name) for name in ("mine", "his", "object"))
    for made in (temporary, other):
        Path(made).write_bytes(b"data")
    os.link(temporary, path)
    _name_new(temporary, path)
    with pytest.raises(FileExistsError):
        _name_new(other, path)


def test_a_directory_that_cannot_be_synced_is_no_error() -> None:
    """As on some network and shared folders: no backup could be made there."""
    with open_directory("/proc") as descriptor:
        with pytest.raises(OSError, match="Invalid argument"):
            os.fsync(descriptor)
        sync_names(descriptor)
    sync_directory("/proc")


@contextmanager
def open_directory(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_full_disk_is_named_with_what_to_do_and_nothing_is_left(local) -> None:
    """A limit on the size of files stands in for the disk: the kernel refuses the same write."""
    local.put("packs/ab/before", b"x" * 1000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot write packs/ab/large"):
            local.put("packs/ab/large", b"x" * (3 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [info.name for info in local.list()] == ["packs/ab/before"]
    local.put("packs/ab/large", b"x" * (3 << 20))


def test_a_missing_directory_is_never_made_by_writing(tmp_path) -> None:
    """It may be the place where a disk belongs that is not mounted."""
    local = Local(str(tmp_path / "not-mounted"))
    with pytest.raises(StorageError, match="is not there") as raised:
        local.put("config", b"data")
    assert "mounted" in raised.value.hint
    for call in (lambda: local.get("config"), lambda: local.head("config")):
        with pytest.raises(StorageError) as missing:
            call()
        assert not isinstance(missing.value, NotFound)
    assert not (tmp_path / "not-mounted").exists()


def test_deleting_in_a_folder_never_disturbs_a_put_into_it(local) -> None:
    """A delete takes an empty folder along while others put into it."""

    def churn(worker: int) -> None:
        for i in range(300):
            name = f"packs/ab/{worker}-{i}"
            local.put(name, b"data")
            assert local.get(name) == b"data"
            if i % 3:
                local.delete(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert len(list(local.list("packs/"))) == 400


def test_a_delete_that_empties_folders_disturbs_no_put_of_another_process(local, tmp_path) -> None:
    """Each run puts a sign, alone in its folder, and takes it away."""

    def run(worker: int) -> None:
        own = Local(str(tmp_path / "repository"))
        for i in range(300):
            own.put(f"runs/writing/{worker}-{i}", b"")
            own.delete(f"runs/writing/{worker}-{i}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert not (tmp_path / "repository" / "runs").exists()


def test_the_name_of_every_new_folder_is_on_the_disk(local, tmp_path) -> None:
    """Also of one in the middle: a first piece of a log lies three folders down."""
    top = tmp_path / "repository"
    for stream, above in (("first", ["", "log", "log/first"]), ("second", ["log", "log/second"])):
        argv = [sys.executable, "-c", SYNCED, str(top), f"log/{stream}/piece/x"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert {str(top / folder) for folder in above} <= set(done.stdout.splitlines())


def test_a_directory_that_somebody_made_for_us_is_used_as_it_is(tmp_path) -> None:
    """What lies above it, such as /home, may let others pass through only."""
    (tmp_path / "made").mkdir()
    argv = [sys.executable, "-c", CREATED, str(tmp_path / "made")]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == ""


def test_of_many_putting_one_name_exactly_one_wins(local) -> None:
    def put(worker: int) -> bool:
        try:
            local.put("refs/same", b"%d" % worker)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(put, range(64)))
    assert won.count(True) == 1
    assert local.get("refs/same") == b"%d" % won.index(True)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 4095])
def test_large_objects_come_back_whole_past_the_cache(local, size) -> None:
    data = os.urandom(size)
    local.put("packs/ab/large", memoryview(data))
    assert local.get("packs/ab/large") == data
