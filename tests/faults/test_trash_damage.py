"""What is to go is told by small objects that no copy has. Damage to one of them must not end all
backups and all removing for good."""

import os
from concurrent.futures import Executor
from hashlib import sha256

import pytest
from small_site import History, Site, make_history, objects_of, random_tree
from test_repair import mended, spoilt

from drctl.clock import SystemClock
from drctl.errors import IntegrityError
from drctl.events import Silent
from drctl.ops.prune import Effort, prune
from drctl.ops.undelete import undelete
from drctl.repository import holds, lifecycle, names, trash
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.repository.trash import Mark
from drctl.storage.base import Storage
from drctl.storage.memory import Memory

DAYS = 3 * 24 * 3600
SWEPT = names.SWEPT + sha256(b"told").hexdigest()


@pytest.fixture
def own(tmp_path, pool: Executor) -> History:
    first = random_tree(31, 4, 900)
    return make_history(Site(tmp_path, pool), first, {**first, **random_tree(32, 3, 900)})


def opened(own: History, storage: Storage) -> Repository:
    return lifecycle.open_as_writer(storage, own.site.credential, os.urandom)


def pruned(own: History, storage: Storage, grace_seconds: float = DAYS) -> None:
    effort = Effort(grace_seconds, 0, 1 << 30)
    pool = own.site.pool
    prune(opened(own, storage), Rule(last=1), effort, pool, SystemClock(), Silent())


def damaged(own: History, folder: str) -> Memory:
    """The first snapshot was removed, and what it alone needs is marked."""
    storage = own.storage()
    pruned(own, storage)
    storage.put(SWEPT, b"told")
    for info in list(storage.list(folder)):
        storage.put(info.name, spoilt(storage.get(info.name)), replace=True)
    return storage


@pytest.mark.parametrize("folder", [names.MARKS, names.TRASHED, names.SINCE, names.SWEPT])
def test_damage_to_what_tells_what_is_to_go_is_mended_without_a_copy(
    own: History, pool: Executor, folder: str
) -> None:
    storage = damaged(own, folder)
    if folder == names.MARKS:
        with pytest.raises(IntegrityError, match="is not what was written") as refused:
            own.site.backup(storage)
        assert "verify --repair" in refused.value.hint
    if folder in (names.MARKS, names.TRASHED):
        with pytest.raises(IntegrityError) as refused:
            pruned(own, storage)
        assert "verify --repair" in refused.value.hint
        assert "forget" not in refused.value.hint
    done = mended(own, storage, pool)
    assert bool(done.dropped) == (folder != names.SINCE)
    assert (done.left, done.saved) == ({}, {})
    assert own.site.verified(storage) == []
    if folder != names.TRASHED:
        first = next(iter(own.trees))
        undelete(opened(own, storage), first, SystemClock())
        own.must_be_whole(storage)
    own.site.backup(storage)
    pruned(own, storage)
    for _ in range(3):
        pruned(own, storage, grace_seconds=0)
    assert not list(storage.list(names.MARKS))
    assert len(own.site.snapshots(storage)) == len(list(storage.list(names.REFS))) == 1
    assert own.site.verified(storage) == []


def test_a_removed_manifest_comes_back_from_where_it_was_not_removed(
    own: History, pool: Executor
) -> None:
    storage = damaged(own, names.TRASHED)
    done = mended(own, storage, pool, own.storage())
    assert [name.startswith(names.TRASHED) for name in done.fetched] == [True]
    undelete(opened(own, storage), next(iter(own.trees)), SystemClock())
    own.must_be_whole(storage)


def test_a_mark_by_which_a_prune_deletes_stays(own: History, pool: Executor) -> None:
    """It goes on by what it read before: who did not know the mark might lean on what goes."""
    storage = damaged(own, names.MARKS)
    (mark,) = storage.list(names.MARKS)
    trash.begin_sweep(storage, names.digest_of(mark.name), "1" * 32)
    assert "when none is running" in mended(own, storage, pool).left[mark.name]
    assert mark.name in objects_of(storage)


def test_a_mark_that_names_what_is_no_name_is_told_and_taken_away(
    own: History, pool: Executor
) -> None:
    """A thief of the writer credential can seal anything."""
    storage = own.storage()
    digest = trash.put_mark(opened(own, storage), Mark(packs=("no name",)))
    with pytest.raises(IntegrityError, match=digest):
        own.site.backup(storage)
    assert list(mended(own, storage, pool).dropped) == [names.MARKS + digest]
    own.site.backup(storage)


def test_who_is_kept_from_removing_by_a_damaged_hold_is_told_what_to_do(
    own: History, pool: Executor
) -> None:
    storage = own.storage()
    holds.put(opened(own, storage), own.newest, "the auditor wants it", 0)
    (hold,) = storage.list(names.HOLDS)
    sound = objects_of(storage)[hold.name]
    storage.put(hold.name, spoilt(sound), replace=True)
    with pytest.raises(IntegrityError) as refused:
        pruned(own, storage)
    assert "hold anew what is to stay" in refused.value.hint
    assert "hold anew" in mended(own, storage, pool).left[hold.name]
    copy = own.storage()
    copy.put(hold.name, sound)
    assert list(mended(own, storage, pool, copy).fetched) == [hold.name]
    pruned(own, storage)
