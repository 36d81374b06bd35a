"""What was lost and then stored anew serves every snapshot that had it, and stays as long as one of
them does: whatever is pruned, brought back or copied meanwhile."""

import os
from concurrent.futures import Executor
from pathlib import Path

import pytest
from small_site import History, Site, make_history, memory_of, random_tree, write_tree
from test_repair import damaged_in_one_segment, mended, readable

from drctl.clock import SystemClock
from drctl.events import Silent
from drctl.model import Snapshot
from drctl.ops.copying import bring_up_to_date
from drctl.ops.prune import Effort, prune
from drctl.ops.undelete import undelete
from drctl.repository import holds, lifecycle, names
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.storage.base import Storage
from drctl.storage.memory import Memory

ONE = Rule(last=1)


@pytest.fixture
def small(tmp_path: Path, pool: Executor) -> History:
    """One for each test: what it does to the source must be seen by no other."""
    first = random_tree(3, 20, 60_000, large_bytes=3 << 20)
    second = {**first, **random_tree(4, 8, 90_000)}
    return make_history(Site(tmp_path, pool), first, second)


def opened(site: Site, storage: Storage) -> Repository:
    return lifecycle.open_as_writer(storage, site.credential, os.urandom)


def pruned(site: Site, storage: Storage, pool: Executor, times: int = 3) -> None:
    for _ in range(times):
        effort = Effort(0, 0, 1 << 30)
        prune(opened(site, storage), ONE, effort, pool, SystemClock(), Silent())


def stored_anew(own: History, storage: Storage) -> Snapshot:
    """A run that remembers nothing stores what was lost, and all that it needs by other names."""
    write_tree(own.site.live, own.trees[own.newest])
    return own.site.backup(storage, state="none-of-it-is-remembered")


def gone_from_the_source(own: History, storage: Storage) -> None:
    """The newest snapshot needs nothing of what the others hold."""
    for path in [p for p in own.site.live.rglob("*") if p.is_file()]:
        path.unlink()
    write_tree(own.site.live, {"other": b"nothing of what was there"})
    own.site.backup(storage)


def repaired(own: History, pool: Executor) -> Memory:
    storage, name = damaged_in_one_segment(own)
    assert list(mended(own, storage, pool).saved) == [name]
    return storage


def with_a_lost_pack(own: History, pool: Executor) -> Memory:
    del pool
    name = damaged_in_one_segment(own)[1]
    return memory_of({n: data for n, data in own.objects.items() if n != name})


def with_a_lost_session(own: History, pool: Executor) -> Memory:
    del pool
    name = next(n for n in own.objects if n.startswith(names.SESSIONS))
    return memory_of({n: data for n, data in own.objects.items() if n != name})


LOSSES = {
    "a repair put a damaged pack aside": repaired,
    "a pack was lost": with_a_lost_pack,
    "a session was lost": with_a_lost_session,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_held_snapshot_keeps_what_stands_in_for_what_it_lost(
    small: History, pool: Executor, loss: str
) -> None:
    storage = LOSSES[loss](small, pool)
    for name in small.trees:
        holds.put(opened(small.site, storage), name, "", 0)
    pruned(small.site, storage, pool)  # what tells of the lost segments outlives this, too
    stored_anew(small, storage)
    assert readable(small, storage) == small.trees[small.newest]
    gone_from_the_source(small, storage)
    pruned(small.site, storage, pool)
    assert small.site.restored(storage, small.newest) == small.trees[small.newest]


@pytest.mark.parametrize("loss", LOSSES)
def test_it_comes_back_from_the_trash(small: History, pool: Executor, loss: str) -> None:
    """Also where what was lost held content of an older snapshot that nobody has any more."""
    storage = LOSSES[loss](small, pool)
    stored_anew(small, storage)
    gone_from_the_source(small, storage)
    effort = Effort(3600, 0, 1 << 30)
    prune(opened(small.site, storage), ONE, effort, pool, SystemClock(), Silent())
    undelete(opened(small.site, storage), small.newest, SystemClock())
    assert small.site.restored(storage, small.newest) == small.trees[small.newest]


def test_a_copy_that_prunes_keeps_it_as_well(small: History, pool: Executor) -> None:
    storage = repaired(small, pool)
    stored_anew(small, storage)
    copy = Memory()
    lifecycle.create(copy, small.site.credential, os.urandom)
    bring_up_to_date(
        storage, copy, lambda: opened(small.site, storage), Rule(last=9), pool, SystemClock(),
        os.urandom, Silent(),
    )  # fmt: skip
    for name in small.trees:
        holds.put(opened(small.site, copy), name, "", 0)
    gone_from_the_source(small, copy)
    pruned(small.site, copy, pool)
    assert small.site.restored(copy, small.newest) == small.trees[small.newest]


def test_all_of_it_goes_with_the_last_that_needs_it(small: History, pool: Executor) -> None:
    storage = repaired(small, pool)
    stored_anew(small, storage)
    gone_from_the_source(small, storage)
    pruned(small.site, storage, pool, times=4)
    left = list(storage.list(names.PACKS))
    assert sum(info.size_bytes for info in left) < 20_000
    assert small.site.verified(storage) == []


def test_nothing_is_missed_of_a_lost_pack_whose_content_was_stored_anew(
    tmp_path: Path, pool: Executor
) -> None:
    """Where nothing was lost but what the newest snapshot had, too."""
    tree = random_tree(3, 20, 60_000, large_bytes=3 << 20)
    small = make_history(Site(tmp_path, pool), tree, {**tree, "one/more": b"file"})
    storage = repaired(small, pool)
    assert any("is missing" in what for what in small.site.verified(storage))
    stored_anew(small, storage)
    assert small.site.restored(storage, small.newest) == small.trees[small.newest]
    wrong = small.site.verified(storage)
    assert not [what for what in wrong if "is missing" in what and small.newest[:8] in what]


def test_what_is_damaged_or_missing_is_told_with_the_snapshots_that_need_it(
    small: History, pool: Executor
) -> None:
    gone_from_the_source(small, damaged := damaged_in_one_segment(small)[0])
    other = {s.name for s in small.site.snapshots(damaged)} - small.trees.keys()
    for storage in (damaged, with_a_lost_pack(small, pool)):
        (told,) = [w for w in small.site.verified(storage) if "packs/" in w and "need it:" in w]
        assert all(name[:8] in told for name in small.trees)
        assert not any(name[:8] in told for name in other)
