"""Damage at rest: whatever becomes of an object's bytes, nobody ever gets wrong data.

A restore gives what was saved, or says which object is damaged; a verification says it too.
"""

import os
from collections.abc import Iterator
from itertools import combinations

import pytest
from small_site import Kept, Objects, Site, make_history, memory_of, random_tree
from sweep import restores_right_or_tells, verification_tells

from drctl.errors import IntegrityError, StorageError
from drctl.events import Silent
from drctl.ops.verify import Effort, verify
from drctl.repository import lifecycle

KINDS = ("config", "keys", "sessions", "packs", "index", "refs", "snapshots")
TRIES = 300  # of each kind of damage to each kind of object; scripts/torture tries every byte


def of_kind(objects: Objects, kind: str) -> list[str]:
    found = [name for name in objects if name.split("/")[0] == kind]
    assert found
    return found


def flips(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """One bit wrong: in every byte of a small object, in every k-th of a large one."""
    for at in range(0, len(data), 1 + len(data) // most):
        yield f"bit of byte {at}", data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def cuts(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """Cut short, and lengthened."""
    for length in range(0, len(data), 1 + len(data) // most):
        yield f"cut at {length}", data[:length]
    yield "one byte more", data + b"\0"
    yield "twice", data + data


def gaps(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """Blocks that read as zeros or are lost, as a failing disk leaves them."""
    step = 1 + len(data) // most
    for at in range(0, len(data), step):
        length = 1 + (at * 7) % 700
        lost = data[at : at + length]
        if lost.strip(b"\0"):
            yield f"zeros at {at}", data[:at] + bytes(len(lost)) + data[at + length :]
        yield f"{length} bytes lost at {at}", data[:at] + data[at + length :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [flips, cuts, gaps])
def test_no_damaged_byte_gives_wrong_data_or_stays_unnoticed(tiny, kind, damage) -> None:
    objects = of_kind(tiny.objects, kind)
    tried = 0
    for name in objects:
        for what, data in damage(tiny.objects[name], TRIES // len(objects)):
            storage = memory_of({**tiny.objects, name: data})
            for snapshot in tiny.trees:
                restores_right_or_tells(tiny, storage, snapshot, tiny.trees[snapshot])
            if not harmless(kind, tiny.objects[name], data):
                assert verification_tells(tiny, storage), f"{name}: {what}: nobody noticed"
            tried += 1
    assert tried >= 200


def harmless(kind: str, before: bytes, after: bytes) -> bool:
    """The config is JSON: its own proof may be written in other letters, with other white space
    behind it, and mean the same."""
    return kind == "config" and before.strip().lower() == after.strip().lower()


@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_object_is_named_or_not_needed(tiny, kind) -> None:
    for name in of_kind(tiny.objects, kind):
        left = {other: data for other, data in tiny.objects.items() if other != name}
        for snapshot in tiny.trees:
            told = restores_right_or_tells(tiny, memory_of(left), snapshot, tiny.trees[snapshot])
            assert not (told and kind in {"index", "refs"}), "the packs tell it all"
        if kind == "packs":
            assert name in verification_tells(tiny, memory_of(left))
        if kind in {"refs", "sessions"}:
            assert verification_tells(tiny, memory_of(left))
        if kind == "index":
            assert verification_tells(tiny, memory_of(left)) == "", "the packs are all there"


@pytest.mark.parametrize("kind", ["keys", "sessions"])
def test_a_host_that_can_read_nothing_notices_that_others_could_not_either(tiny, kind) -> None:
    """Whoever only backs up would otherwise store for months what nobody opens."""
    for name in of_kind(tiny.objects, kind):
        left = memory_of({n: data for n, data in tiny.objects.items() if n != name})
        opened = lifecycle.open_as_writer(left, tiny.site.credential, os.urandom)
        found = verify(left, opened, None, Effort(100, 0), tiny.site.pool, Silent())
        assert found.damaged == [name]
        keyless = verify(left, None, None, Effort(100, 0), tiny.site.pool, Silent())
        assert keyless.damaged == ([name] if kind == "keys" else [])


def test_a_place_without_a_repository_is_not_well(tiny) -> None:
    with pytest.raises(StorageError, match="no drctl repository"):
        verify(memory_of({}), None, None, Effort(100, 0), tiny.site.pool, Silent())


@pytest.mark.parametrize("kind", KINDS[1:])
def test_objects_that_changed_places_are_noticed(tiny, kind) -> None:
    pairs = list(combinations(of_kind(tiny.objects, kind), 2))
    assert pairs
    for one, other in pairs:
        swapped = {**tiny.objects, one: tiny.objects[other], other: tiny.objects[one]}
        for snapshot in tiny.trees:
            restores_right_or_tells(tiny, memory_of(swapped), snapshot, tiny.trees[snapshot])
        assert verification_tells(tiny, memory_of(swapped)), f"{one} and {other}"


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_of_another_repository_is_never_taken_for_ones_own(
    tiny, kind, pool, tmp_path
) -> None:
    """The other one has the same recipients, and a tree whose names are the same."""
    site = type(tiny.site)(tmp_path, pool)
    other = make_history(site, random_tree(7, 6, 600), random_tree(8, 6, 600))
    for name, theirs in zip(of_kind(tiny.objects, kind), of_kind(other.objects, kind), strict=True):
        for place in {name, theirs}:
            mixed = memory_of({**tiny.objects, place: other.objects[theirs]})
            for snapshot in tiny.trees:
                restores_right_or_tells(tiny, mixed, snapshot, tiny.trees[snapshot])


def test_without_any_index_everything_still_comes_back(tiny) -> None:
    left = {n: data for n, data in tiny.objects.items() if not n.startswith(("index/", "refs/"))}
    for snapshot, tree in tiny.trees.items():
        assert tiny.site.restored(memory_of(left), snapshot) == tree


@pytest.mark.parametrize("kind", ["packs", "index", "refs", "sessions"])
def test_a_backup_after_a_loss_leans_on_nothing_that_is_lost(tiny, kind) -> None:
    """A host without the private key cannot see all damage, but it sees what is not there."""
    for name in of_kind(tiny.objects, kind):
        left = memory_of({n: data for n, data in tiny.objects.items() if n != name})
        made = tiny.site.backup(left)
        assert tiny.site.restored(left, made.name) == tiny.trees[tiny.newest]


def test_a_lost_config_is_made_again_by_init(tiny) -> None:
    left = memory_of({name: data for name, data in tiny.objects.items() if name != "config"})
    lifecycle.create(left, tiny.site.credential, os.urandom)
    tiny.must_be_whole(left)


@pytest.mark.parametrize("kept", [0.0, 0.4, 0.9])
def test_a_pack_that_is_cut_short_loses_what_was_in_it_and_nothing_else(tiny, kept) -> None:
    """It is damage to that pack, not a failure of the storage: everything else comes back."""
    seen_whole = 0
    for name in of_kind(tiny.objects, "packs"):
        data = tiny.objects[name]
        storage = memory_of({**tiny.objects, name: data[: int(kept * len(data))]})
        for snapshot, tree in tiny.trees.items():
            got = Kept()
            try:
                done = tiny.site.restore(storage, snapshot, got)
            except IntegrityError as error:
                assert name in error.what  # noqa: PT017 - even its root was in there
                continue
            assert all(name in problem.what for problem in done.problems)
            assert all(tree[path] == data for path, data in got.files.items())
            seen_whole += not done.problems
    assert seen_whole


def test_a_lost_block_of_entries_takes_no_other_along(pool, tmp_path) -> None:
    """Of 4,000 files two changed, so most blocks of the second snapshot lie in the first pack."""
    first = {f"d{i % 9}/f{i:04}": b"%d" % i for i in range(4000)}
    tree = {**first, "d3/f0003": b"changed", "d7/f3976": b"changed"}
    history = make_history(Site(tmp_path, pool), first, tree)
    site = history.site
    opened = lifecycle.open_as_writer(history.storage(), site.credential, os.urandom)
    tables = {n: opened.toc_in(n, history.objects[n]) for n in of_kind(history.objects, "packs")}
    pack = max(tables, key=lambda name: len(history.objects[name]))
    came_back = set()
    for segment in tables[pack].segments:
        data = bytearray(history.objects[pack])
        data[segment.offset] ^= 1
        got = Kept()
        damaged = memory_of({**history.objects, pack: bytes(data)})
        done = site.restore(damaged, history.newest, got)
        assert all(pack in problem.what for problem in done.problems)
        assert all(tree[path] == content for path, content in got.files.items())
        if any("entries from here on are lost" in problem.what for problem in done.problems):
            came_back.add(len(got.files))
    assert came_back
    assert all(0 < files < len(tree) for files in came_back)
