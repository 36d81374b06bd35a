"""What is damaged is mended where anything sound is left, and nothing sound is ever given up."""

import os
from concurrent.futures import Executor
from hashlib import sha256
from pathlib import Path

import pytest
from small_site import (
    IDENTITY,
    SECOND,
    History,
    memory_of,
    new_credential,
    objects_of,
    write_tree,
)

from drctl.clock import SystemClock
from drctl.codec.documents import Manifest
from drctl.errors import IntegrityError, KeyUnavailable, NotFound, StorageError
from drctl.events import Silent
from drctl.ops.recipients import align
from drctl.ops.repair import Hands, RepairResult, repair
from drctl.ops.replicate import replicate
from drctl.ops.verify import Effort, verify
from drctl.repository import catalog, keyring, lifecycle, names
from drctl.storage.base import Storage
from drctl.storage.local import Local
from drctl.storage.memory import Memory
from drctl.storage.meter import Meter


def spoilt(data: bytes) -> bytes:
    """The same length, one bit wrong."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def mended(
    own: History, storage: Storage, pool: Executor, *copies: Storage, with_identity: bool = True
) -> RepairResult:
    """As the command does it."""
    opened = lifecycle.open_as_writer(storage, own.site.credential, os.urandom)
    identity = IDENTITY if with_identity else None
    found = verify(storage, opened, identity, Effort(100, 0), pool, Silent())
    hands = Hands(storage, copies, opened, identity, pool, Silent())
    return repair(hands, found.damaged, SystemClock(), os.urandom)


# -- replication ----------------------------------------------------------------------------------


def test_a_replication_that_proves_mends_each_damaged_object_of_the_copy(
    tiny: History, pool: Executor
) -> None:
    """Of the config's bytes some can be changed and only a key tells."""
    secrets = tiny.site.credential.secrets
    for name, data in tiny.objects.items():
        copy = memory_of({**tiny.objects, name: spoilt(data)})
        done = replicate(tiny.storage(), copy, pool, Silent(), secrets=secrets, proving=True)
        assert (done.mended, objects_of(copy)) == (1, tiny.objects)


MARK, BREAK = -9, 0  # where a wrong byte leaves it readable, and where not


def config_spoilt(own: History, at: int) -> Memory:
    """A digit stays a digit."""
    data = bytearray(own.objects[names.CONFIG])
    data[at] = b"01"[data[at] == b"0"[0]]
    return memory_of({**own.objects, names.CONFIG: bytes(data)})


@pytest.mark.parametrize("at", [MARK, BREAK])
def test_a_copys_damaged_config_is_replaced_and_an_originals_is_never_copied(
    tiny: History, pool: Executor, at: int
) -> None:
    """Whatever else is read: it is small."""
    secrets, sound = tiny.site.credential.secrets, tiny.objects[names.CONFIG]
    copy = config_spoilt(tiny, at)
    assert replicate(tiny.storage(), copy, pool, Silent(), secrets=secrets).mended == 1
    assert copy.get(names.CONFIG) == sound
    damaged, lost = config_spoilt(tiny, at), Memory()
    for target in (lost, copy):
        with pytest.raises(IntegrityError, match=r"config: it .*not copied"):
            replicate(damaged, target, pool, Silent(), secrets=secrets)
    assert copy.get(names.CONFIG) == sound
    assert objects_of(lost).keys() == tiny.objects.keys() - {names.CONFIG}


def test_without_a_key_configs_that_differ_stay_and_who_asks_for_proof_is_told(
    tiny: History, pool: Executor
) -> None:
    """One may be of other recipients. One that does not read is replaced."""
    copy = config_spoilt(tiny, MARK)
    before = copy.get(names.CONFIG)
    replicate(tiny.storage(), copy, pool, Silent())
    with pytest.raises(IntegrityError, match="only the writer credential tells"):
        replicate(tiny.storage(), copy, pool, Silent(), proving=True)
    assert copy.get(names.CONFIG) == before
    replicate(tiny.storage(), broken := config_spoilt(tiny, BREAK), pool, Silent())
    assert objects_of(broken) == tiny.objects


def test_a_config_that_a_newer_drctl_wrote_stays(tiny: History, pool: Executor) -> None:
    newer = tiny.objects[names.CONFIG].replace(b'"format": 1', b'"format": 2')
    copy = memory_of({**tiny.objects, names.CONFIG: newer})
    with pytest.raises(IntegrityError, match="format 2 is not known"):
        replicate(
            tiny.storage(),
            copy,
            pool,
            Silent(),
            secrets=tiny.site.credential.secrets,
            proving=True,
        )
    assert copy.get(names.CONFIG) == newer


def test_nothing_is_copied_over_another_repository_that_lost_its_config(
    tiny: History, pool: Executor
) -> None:
    lost = {n: data for n, data in tiny.objects.items() if n != names.CONFIG}
    other = Memory()
    lifecycle.create(other, new_credential(), os.urandom)
    with pytest.raises(StorageError, match="of another repository, whose config is lost"):
        replicate(other, copy := memory_of(lost), pool, Silent())
    assert objects_of(copy) == lost


def test_what_is_damaged_at_the_source_never_replaces_what_the_copy_has(
    tiny: History, pool: Executor
) -> None:
    for name, data in tiny.objects.items():
        if name.startswith(names.HASHED):
            source = memory_of({**tiny.objects, name: spoilt(data)})
            whole, worse = tiny.storage(), memory_of({**tiny.objects, name: data[:9]})
            replicate(source, whole, pool, Silent(), proving=True)
            assert objects_of(whole) == tiny.objects
            with pytest.raises(IntegrityError, match=name):
                replicate(source, worse, pool, Silent(), proving=True)
            assert worse.get(name) == data[:9]


def test_damage_at_the_copy_that_the_source_cannot_mend_is_told(
    tiny: History, pool: Executor
) -> None:
    name = next(n for n in tiny.objects if n.startswith(names.SNAPSHOTS))
    source = memory_of({n: data for n, data in tiny.objects.items() if n != name})
    copy = memory_of({**tiny.objects, name: spoilt(tiny.objects[name])})
    with pytest.raises(IntegrityError, match=name):
        replicate(source, copy, pool, Silent(), proving=True)


# -- a repair from a copy -------------------------------------------------------------------------


def test_each_object_comes_back_from_a_copy_that_has_it_sound(
    tiny: History, pool: Executor
) -> None:
    for name, data in tiny.objects.items():
        if not name.startswith(names.HASHED):
            continue
        storage = memory_of({**tiny.objects, name: spoilt(data)})
        bad = memory_of({**tiny.objects, name: spoilt(data)})
        done = mended(tiny, storage, pool, Memory(), bad, tiny.storage())
        assert (list(done.fetched), done.saved, done.left) == ([name], {}, {})
        assert objects_of(storage) == tiny.objects


def test_a_lost_pack_and_one_cut_short_come_back_from_a_copy(tiny: History, pool: Executor) -> None:
    first, second = (n for n in tiny.objects if n.startswith(names.PACKS))
    objects = {**tiny.objects, second: tiny.objects[second][:-9]}
    del objects[first]
    storage = memory_of(objects)
    mended(tiny, storage, pool, tiny.storage())
    assert objects_of(storage) == tiny.objects


def test_lost_refs_come_back_from_a_copy(tiny: History, pool: Executor) -> None:
    """Without them no prune can tell what is needed, and says that a repair is due."""
    lost = {n for n in tiny.objects if n.startswith(names.REFS)}
    storage = memory_of({n: data for n, data in tiny.objects.items() if n not in lost})
    assert set(mended(tiny, storage, pool, tiny.storage()).fetched) == lost
    assert objects_of(storage) == tiny.objects


def test_a_repair_fetches_nothing_to_where_a_thief_of_the_writer_credential_says(
    tiny: History, pool: Executor, tmp_path: Path
) -> None:
    """What its manifest names as refs lies at the copy, and out of the repository."""
    storage, copy = Local(str(tmp_path / "repository")), tiny.storage()
    storage.create()
    for name, data in tiny.objects.items():
        storage.put(name, data)
    refs = f"../../stolen/{sha256(b'mine').hexdigest()}"
    repository = lifecycle.open_as_writer(storage, tiny.site.credential, os.urandom)
    catalog.commit(repository, Manifest("a", "files", "h", 1, 2, 3, 1, 5, 6, 0, b"r" * 32, refs))
    copy.put(names.REFS + refs, b"mine")
    done = mended(tiny, storage, pool, copy)
    assert names.REFS + refs not in {**done.fetched, **done.left}
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    for name in (names.REFS + refs, "../x", ".."):
        with pytest.raises(NotFound):
            storage.put(name, b"mine")


# -- keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, b"spoilt"])
def test_a_lost_or_damaged_key_is_made_again_without_an_identity(
    tiny: History, pool: Executor, data: bytes | None
) -> None:
    own = [n for n in tiny.objects if n.startswith(names.KEYS)]
    left = {n: data for n, data in tiny.objects.items() if n not in own}
    storage = memory_of({**left, **(dict.fromkeys(own, data) if data else {})})
    done = mended(tiny, storage, pool, with_identity=False)
    assert sorted(done.made) == sorted(own)
    for identity in (IDENTITY, SECOND):
        lifecycle.open_as_reader(storage, identity, os.urandom)
    tiny.must_be_whole(storage)


def test_no_key_is_made_for_whom_the_repository_is_no_longer_for(
    tiny: History, pool: Executor
) -> None:
    """A host with an older writer credential must not bring a removed recipient back."""
    storage = tiny.storage()
    opened = lifecycle.open_as_writer(storage, tiny.site.credential, os.urandom)
    align(opened, [IDENTITY], [IDENTITY.recipient()], pool, Silent())
    storage.delete(names.KEYS + IDENTITY.recipient().fingerprint)
    older = lifecycle.open_as_writer(storage, tiny.site.credential, os.urandom)
    assert keyring.make_lost(older) == [IDENTITY.recipient()]
    with pytest.raises(KeyUnavailable):
        lifecycle.open_as_reader(storage, SECOND, os.urandom)


# -- a repair without one -------------------------------------------------------------------------


def damaged_in_one_segment(own: History) -> tuple[Memory, str]:
    """The largest pack has one bit wrong, in one of its many segments."""
    name = max((n for n in own.objects if n.startswith(names.PACKS)), key=_size_in(own))
    return memory_of({**own.objects, name: spoilt(own.objects[name])}), name


def _size_in(own: History):
    return lambda name: len(own.objects[name])


def test_what_is_sound_in_a_damaged_pack_is_saved_and_later_backups_store_the_rest_anew(
    small: History, pool: Executor
) -> None:
    storage, name = damaged_in_one_segment(small)
    lost = {n for n, d in readable(small, storage).items() if d != small.trees[small.newest][n]}
    done = mended(small, storage, pool, Memory())
    assert list(done.saved) == [name]
    assert name not in objects_of(storage)
    assert storage.get(names.DAMAGED + names.digest_of(name))
    after = readable(small, storage)
    assert {n for n, data in after.items() if data != small.trees[small.newest][n]} == lost
    write_tree(small.site.live, small.trees[small.newest])
    small.site.backup(storage, state="none-of-it-is-remembered")
    for snapshot in small.site.snapshots(storage):
        tree = small.trees.get(snapshot.name, small.trees[small.newest])
        assert small.site.restored(storage, snapshot.name) == tree


def readable(own: History, storage: Storage) -> dict[str, bytes]:
    """Each file of the newest snapshot, as far as it comes back; b"" where it does not."""
    from small_site import Kept

    kept = Kept()
    own.site.restore(storage, own.newest, kept)
    return {name: kept.files.get(name, b"") for name in own.trees[own.newest]}


def test_what_is_mended_of_many_packs_is_not_looked_for_in_all_indexes_each_time(
    small: History, pool: Executor
) -> None:
    """A disk that fails damages thousands: to list and load all for each would take days."""
    packs = [n for n in small.objects if n.startswith(names.PACKS)]
    meter = Meter(memory_of({**small.objects, **{n: spoilt(small.objects[n]) for n in packs}}))
    opened = lifecycle.open_as_writer(meter, small.site.credential, os.urandom)
    before = meter.calls["list"]
    done = repair(
        Hands(meter, (), opened, IDENTITY, pool, Silent()), packs, SystemClock(), os.urandom
    )
    assert len(done.saved) == len(packs) > 1
    assert meter.calls["list"] - before == 1


def test_without_an_identity_a_damaged_pack_stays(small: History, pool: Executor) -> None:
    storage, name = damaged_in_one_segment(small)
    before = objects_of(storage)
    done = mended(small, storage, pool, with_identity=False)
    assert list(done.left) == [name]
    assert objects_of(storage) == before


def test_a_damaged_pack_whose_session_is_lost_stays(small: History, pool: Executor) -> None:
    """Its segments may be sound: the session may be on a copy that does not answer today."""
    storage, name = damaged_in_one_segment(small)
    for info in list(storage.list(names.SESSIONS)):
        storage.delete(info.name)
    done = mended(small, storage, pool)
    assert name in done.left
    assert storage.get(name)


def test_what_a_damaged_index_said_is_read_from_the_packs(tiny: History, pool: Executor) -> None:
    name = next(n for n in tiny.objects if n.startswith(names.INDEX))
    storage = memory_of({**tiny.objects, name: spoilt(tiny.objects[name])})
    done = mended(tiny, storage, pool)
    assert list(done.saved) == [name]
    assert name not in objects_of(storage)
    tiny.must_be_whole(storage)


def test_what_others_left_in_a_repository_is_theirs(tiny: History, pool: Executor) -> None:
    storage = tiny.storage()
    beside = ["packs/.nfs0001", "index/.DS_Store", "sessions/x", "trash/marks/y", "log/z"]
    for name in beside:
        storage.put(name, b"not ours")
    done = mended(tiny, storage, pool, tiny.storage())
    assert sorted(done.left) == sorted(beside)
    assert all("by hand" in why for why in done.left.values())
    assert (done.fetched, done.saved, done.dropped) == ({}, {}, {})
    assert set(objects_of(storage)) == {*tiny.objects, *beside}


def test_while_a_prune_deletes_no_pack_is_taken_away_and_all_else_is_mended(
    tiny: History, pool: Executor
) -> None:
    """A prune that was killed may need what is damaged to come to its end."""
    index, pack = (next(n for n in tiny.objects if n.startswith(f)) for f in ("index/", "packs/"))
    storage = memory_of({**tiny.objects, **{n: spoilt(tiny.objects[n]) for n in (index, pack)}})
    storage.put(f"{names.SWEEPING}{'0' * 64}/{'1' * 32}", b"")
    done = mended(tiny, storage, pool)
    assert (list(done.saved), list(done.left)) == ([index], [pack])
    assert "drctl prune" in done.left[pack]
    assert pack in objects_of(storage)
    for info in list(storage.list(names.SWEEPING)):
        storage.delete(info.name)  # it came to its end
    assert list(mended(tiny, storage, pool, tiny.storage()).fetched) == [pack]
    tiny.must_be_whole(storage)
