"""Large attributes are saved so that they can be read again; what an early drctl wrote larger than
any decoder takes is stored anew, and told."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from small_site import Kept, Site, write_tree
from test_stand_ins import opened, pruned

from drctl.codec import entries, segment
from drctl.codec.documents import Manifest
from drctl.codec.entries import BlockInfo, Root
from drctl.engines import files
from drctl.engines.base import Item, PlainItem
from drctl.events import Silent
from drctl.model import Entry, Kind, Snapshot
from drctl.ops.verify import Effort, verify
from drctl.repository import catalog, holds, names
from drctl.repository.lostpacks import lost_packs
from drctl.repository.repository import Repository
from drctl.repository.writer import Writer
from drctl.storage.base import Storage

SMALL = b"a small file beside a large one"


@pytest.fixture
def site(tmp_path: Path, pool: Executor) -> Site:
    return Site(tmp_path, pool)


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch):
    """While it is entered segments and blocks have no bounds, as with early drctls."""

    @contextmanager
    def entered() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(segment, "SEGMENT_MAX_BYTES", 1 << 30)
            patch.setattr(entries, "BLOCK_MOST_ENCODED_BYTES", 1 << 30)
            yield

    return entered


class Attributed:
    """A source with some entries more, such as directories of a file server's streams."""

    def __init__(self, inner: files.Source, more: list[Entry]) -> None:
        self._inner = inner
        self._more = more

    @contextmanager
    def open(self) -> Iterator["Attributed"]:
        with self._inner.open() as self._capture:
            yield self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def items(self) -> Iterator[Item]:
        yield from self._capture.items()
        yield from map(PlainItem, self._more)


def attributed(count: int, each_bytes: int) -> list[Entry]:
    value = b"a stream" * (each_bytes // 8)
    inside = (b"z-%04d" % i for i in range(2 * count) if not ends_a_block(b"z-%04d" % i))
    return [
        Entry(path, int(Kind.DIRECTORY), xattrs=((b"user." + path, value),))
        for path in islice(inside, count)
    ]


def ends_a_block(path: bytes) -> bool:
    return sum(1 for _ in entries.blocks([Entry(path, 1), Entry(b"z", 1)])) > 1


def test_a_tree_with_large_attributes_comes_back_with_them(site: Site) -> None:
    write_tree(site.live, {"a": SMALL})
    storage, more = site.new_repository(), attributed(600, 60_000)
    made = site.backup(storage, source=Attributed(site.source(), more))
    assert made.status == "complete"
    assert [e for e in site.entries(storage, made.name) if e.xattrs] == more
    assert site.verified(storage) == []


def test_an_entry_whose_attributes_fit_no_segment_is_saved_without_them_and_told(
    site: Site,
) -> None:
    write_tree(site.live, {"a": SMALL})
    storage = site.new_repository()
    made = site.backup(storage, source=Attributed(site.source(), attributed(2, 9 << 20)))
    assert made.problems == 2
    told = [e.problem for e in site.entries(storage, made.name) if e.path.startswith(b"z-")]
    assert all("9.0 MiB of extended attributes" in problem for problem in told)
    site.restore(storage, made.name, kept := Kept())
    assert kept.files == {"a": SMALL}


def test_blocks_of_entries_that_no_decoder_takes_are_stored_anew(site: Site, early) -> None:
    """Also those beside them in one segment, though they are the same as before."""
    beside = next(name for name in map(str, range(9999)) if ends_a_block(name.encode()))
    write_tree(site.live, {beside: SMALL})
    storage, more = site.new_repository(), attributed(600, 60_000)
    with early():
        old = site.backup(storage, source=Attributed(site.source(), more))
    assert told_lost(site, storage)
    new = site.backup(storage, source=Attributed(site.source(), more))
    assert [e for e in site.entries(storage, new.name) if e.xattrs] == more
    assert site.restored(storage, new.name) == {beside: SMALL}
    (told,) = {what for what in structure(site, storage) if "nobody can read" in what}
    assert f"1 snapshot needs it: {old.short} of tree: 'drctl forget" in told
    storage.delete(names.SNAPSHOTS + old.name)
    assert site.verified(storage) == []


def test_what_is_stored_again_of_a_segment_that_no_decoder_takes_serves_the_older_snapshot(
    site: Site, early, pool: Executor
) -> None:
    storage = site.new_repository()
    with early():
        old = with_an_oversized_segment(opened(site, storage), pool)
    assert told_lost(site, storage)
    write_tree(site.live, {"small": SMALL})
    new = site.backup(storage)
    assert site.restored(storage, new.name) == {"small": SMALL}
    assert told_lost(site, storage) == ()
    holds.put(opened(site, storage), old.name, "", 0)
    (site.live / "small").unlink()
    site.backup(storage)
    pruned(site, storage, pool)
    kept = Kept()
    done = site.restore(storage, old.name, kept)
    assert (kept.files, done.damaged) == ({"small": SMALL}, 1)


def with_an_oversized_segment(repository: Repository, pool: Executor) -> Snapshot:
    writer = Writer(repository, repository.load_index(lambda _: None), pool, 3)
    large = b"it has grown since it was looked at " * (1 << 19)
    block = [
        Entry(b"small", int(Kind.FILE), size=len(SMALL), blobs=writer.add(SMALL)),
        Entry(b"z-large", int(Kind.FILE), size=len(large), blobs=writer.add(large)),
    ]
    tree = writer.add(entries.encode_block(block), tree=True)
    root = writer.add(entries.encode_root(Root((BlockInfo(b"small", tree, 2),))), tree=True)
    manifest = Manifest("a", "files", "h", 1, 2, 3, 2, 5, 6, 0, root, writer.finish())
    return catalog.commit(repository, manifest)


def told_lost(site: Site, storage: Storage) -> tuple[str, ...]:
    repository = opened(site, storage)
    index = repository.load_index(lambda _: None, only_present=True)
    return lost_packs(repository, index, site.pool)


def structure(site: Site, storage: Storage) -> list[str]:
    """What a verification with no identity finds wrong."""
    repository = opened(site, storage)
    return verify(storage, repository, None, Effort(100, 0), site.pool, Silent()).wrong
