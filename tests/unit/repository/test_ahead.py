"""What a restore asks of its storage before it needs it: far away, a request costs a round trip."""

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))

from small_site import IDENTITY, Kept, Site, memory_of, objects_of, random_tree, write_tree

from drctl.codec.entries import Root
from drctl.model import Snapshot
from drctl.ops.restore_steps import fetched_ahead, steps
from drctl.repository import lifecycle, names
from drctl.repository.ahead import Ahead, Range, Slice
from drctl.repository.index import Index
from drctl.repository.reader import Reader
from drctl.storage.base import Storage
from drctl.storage.memory import Memory
from drctl.storage.meter import Meter

MIB = 1 << 20
FILES, LARGE = 60, 50 * MIB  # incompressible: four packs, and what is left


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, pool: ThreadPoolExecutor
) -> tuple[Site, Memory, Snapshot]:
    """Small files and a large one, of 65 MiB together, in a repository in memory."""
    site = Site(tmp_path_factory.mktemp("ahead"), pool)
    write_tree(site.live, random_tree(3, FILES, MIB // 2, LARGE))
    storage = site.new_repository()
    return site, storage, site.backup(storage)


def opened(storage: Storage, snapshot: Snapshot) -> tuple[Reader, Index, Root]:
    repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
    index = repository.load_index(lambda _: None)
    reader = Reader(repository, index, IDENTITY)
    return reader, index, reader.root(snapshot.root)


def test_a_restore_asks_for_long_ranges_and_for_no_byte_twice(
    kept: tuple[Site, Memory, Snapshot],
) -> None:
    site, storage, snapshot = kept
    stored_bytes = sum(info.size_bytes for info in storage.list())
    meter = Meter(storage)
    found = site.restored(meter, snapshot.name)

    assert found == random_tree(3, FILES, MIB // 2, LARGE)
    assert meter.received_bytes <= stored_bytes
    assert meter.calls["get"] <= 30  # six to open; a range ends where 4 MiB or the pack do


def test_blobs_that_lie_side_by_side_are_handed_on_in_one_piece(
    kept: tuple[Site, Memory, Snapshot],
) -> None:
    _, storage, snapshot = kept
    repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
    reader = Reader(repository, repository.load_index(lambda _: None), IDENTITY)
    entries = reader.entries(reader.root(snapshot.root))
    ids = [leaf for entry in entries if entry.size < MIB for leaf in reader.leaves(entry)]
    blobs, pieces = reader.blobs(ids), reader.content(ids)

    assert b"".join(pieces) == b"".join(blobs)
    assert len(pieces) <= len(blobs) * 2 // 3  # a segment is 1 MiB, a file a quarter of that


def test_one_path_alone_does_not_fetch_the_packs(kept: tuple[Site, Memory, Snapshot]) -> None:
    site, storage, snapshot = kept
    meter, target = Meter(storage), Kept()
    site.restore(meter, snapshot.name, target, [b"folder-1/file-01"])

    assert list(target.files) == ["folder-1/file-01"]
    assert meter.received_bytes < 3 * MIB  # two segments at most, and the entries


def test_a_range_that_is_cut_short_takes_nothing_with_it_that_is_there(
    kept: tuple[Site, Memory, Snapshot],
) -> None:
    site, storage, snapshot = kept
    whole = objects_of(storage)
    packs = sorted(
        (name for name in whole if name.startswith(names.PACKS)), key=lambda n: -len(whole[n])
    )
    lost = 0
    for name in packs[:2]:
        cut = memory_of({**whole, name: whole[name][: len(whole[name]) - 2 * MIB]})
        target = Kept()
        done = site.restore(cut, snapshot.name, target)
        lost += done.damaged
        wanted = random_tree(3, FILES, MIB // 2, LARGE)
        assert all(wanted[path] == content for path, content in target.files.items())
        assert len(target.files) + done.damaged == len(wanted)
        assert done.damaged < 10  # those in the last three segments
    assert lost


class Ranges(Meter):
    """Remembers what was asked for."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.asked: list[tuple[str, int]] = []

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked.append((name, offset))
        return super().get(name, offset, length)


def test_entries_are_asked_for_once_whatever_is_read_between_them(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    site = Site(tmp_path, pool)
    write_tree(site.live, random_tree(5, 5000, 100, LARGE))
    storage = Ranges(site.new_repository())
    reader, index, root = opened(storage, site.backup(storage))
    large = reader.leaves(next(e for e in reader.entries(root, [b"large"]) if e.size == LARGE))
    segments = reader.segments(block.blob for block in root.blocks)
    places = {(p.pack.hex(), p.offset) for p in map(index.place, segments)}

    reader, _, _ = opened(storage, site.snapshots(storage)[0])
    storage.asked.clear()
    for number, _ in enumerate(reader.entries(root)):
        if number in {1000, 4000}:
            for window in reader.windows(large):
                reader.blobs(window.ids)
    asked = [(names.digest_of(name), offset) for name, offset in storage.asked]
    assert len(root.blocks) > 5
    assert sum(place in places for place in asked) <= len(places)


class Asked(Ahead):
    """Counts the bytes that were asked for."""

    asked_bytes = 0

    def begin(self, wanted: Range, segments: Iterable[tuple[int, int, int]]) -> dict[int, Slice]:
        self.asked_bytes += wanted[2]
        return super().begin(wanted, segments)


def test_no_more_is_asked_for_than_memory_may_hold(kept: tuple[Site, Memory, Snapshot]) -> None:
    _, storage, snapshot = kept
    reader, _, root = opened(storage, snapshot)
    entries = reader.entries(root)
    with Asked(reader.repository.read) as ahead:
        taken = fetched_ahead(reader, ahead, steps(reader, entries))
        next(taken)
        assert 24 * MIB < ahead.asked_bytes <= 40 * MIB
        assert len(list(taken)) > 30
        assert ahead.asked_bytes > 60 * MIB
