"""What a restore fetched from afar is put aside, and asked for no second time."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))

from small_site import IDENTITY, Kept, Site, write_tree

from drctl.model import Snapshot
from drctl.repository import lifecycle
from drctl.repository.ahead import Ahead
from drctl.repository.aside import Aside, Held
from drctl.repository.reader import Reader
from drctl.storage.memory import Memory
from drctl.storage.meter import Meter

MIB = 1 << 20
COPIES = 100  # of a MiB each, which is more than memory may hold


@pytest.fixture(scope="module")
def again(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Site, Memory, Snapshot]]:
    """Files, and all of them once more behind the last of them."""
    with ThreadPoolExecutor(4) as pool:
        site = Site(tmp_path_factory.mktemp("aside"), pool)
        for number in range(COPIES):
            content = os.urandom(MIB)
            write_tree(site.live, {f"{folder}/{number}": content for folder in ("a", "b")})
        storage = site.new_repository()
        yield site, storage, site.backup(storage)


def test_a_restore_from_afar_asks_for_no_byte_twice_however_far_it_comes_back(
    again: tuple[Site, Memory, Snapshot], tmp_path: Path
) -> None:
    site, storage, snapshot = again
    stored_bytes = sum(info.size_bytes for info in storage.list())
    near, far, target = Meter(storage), Meter(storage), Kept()
    site.restored(near, snapshot.name)
    done = site.restore(far, snapshot.name, target, aside=str(tmp_path / "cache"))

    assert near.received_bytes > 1.5 * stored_bytes
    assert far.received_bytes <= stored_bytes
    assert far.calls["get"] < 40  # 8 MiB and more at a time
    assert done.problems == ()
    assert len(target.files) == 2 * COPIES
    assert all(target.files[f"a/{i}"] == target.files[f"b/{i}"] for i in range(COPIES))


def test_what_is_put_aside_has_no_name_and_goes_with_whoever_holds_it(tmp_path: Path) -> None:
    held = Aside(str(tmp_path / "cache")).keep(b"sealed bytes")
    assert list((tmp_path / "cache").iterdir()) == []
    assert held(7, 5) == b"bytes"
    assert len(open_below(tmp_path)) == 1
    del held
    assert open_below(tmp_path) == []


def open_below(top: Path) -> list[str]:
    """Of the descriptors of this process: those that other tests left come and go."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(f"{top}/")]


def test_where_nothing_can_be_put_aside_little_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    aside = Aside(str(tmp_path / "file"))
    assert aside.keep(b"sealed bytes")(0, 6) == b"sealed"
    assert not aside.is_on_disk
    assert aside.most_bytes() == Aside().most_bytes() == 40 * MIB


def test_a_restore_leaves_most_of_the_room_to_what_is_restored(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    most_bytes = Aside(str(tmp_path)).most_bytes()
    assert 0 < most_bytes <= 512 * MIB
    assert most_bytes < found.f_bfree * found.f_frsize / 3


class Rotten(Aside):
    """Gives back something else than it was given, and nothing of what lies far behind."""

    def keep(self, data: bytes) -> Held:
        return super().keep(bytes(byte ^ 1 for byte in data[:100]) + data[100 : len(data) // 2])


def test_damage_to_what_was_put_aside_is_none_to_the_repository(
    again: tuple[Site, Memory, Snapshot], tmp_path: Path
) -> None:
    site, storage, snapshot = again
    repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
    reader = Reader(repository, repository.load_index(lambda _: None), IDENTITY)
    ids = [i for e in reader.entries(reader.root(snapshot.root)) for i in reader.leaves(e)][:20]
    with Ahead(repository.read, Rotten(str(tmp_path))) as ahead:
        blobs = reader.blobs(ids, reader.begin(ahead, reader.segments(ids)))
    assert b"".join(blobs).startswith((site.live / "a/0").read_bytes())
