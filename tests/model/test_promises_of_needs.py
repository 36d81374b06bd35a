"""What is needed stays, whoever is late or killed: steps of the removing protocol, each as an exact
story. Without the step, one of these fails."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promises import (
    back_up_database,
    collected,
    found,
    has_more,
    hold,
    log_files,
    log_sessions,
    packs_of,
    steps_until,
    until,
    with_log,
    writer_of,
)
from stepped import Actor, AtOnce, Stepped
from test_collect import DAY, Time
from test_interleavings import (  # noqa: F401
    OLD,
    Work,
    World,
    backs_up_old_data,
    begin,
    marked,
    prunes,
    replicates,
    small_packs,
    undeletes,
    world,
)

from drctl.codec import documents
from drctl.errors import DrctlError, IntegrityError, StorageError
from drctl.events import Silent
from drctl.ops.copying import bring_up_to_date
from drctl.ops.prune import Effort, prune
from drctl.ops.undelete import undelete
from drctl.repository import catalog, collect, names, rewrite, survey, trash
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.repository.standins import tables_of
from drctl.repository.survey import Needs
from drctl.repository.trash import Mark

# -- a run that is late ----------------------------------------------------------------------------


def test_of_two_sweeps_that_count_on_each_other_s_packs_one_gives_way(world: World) -> None:
    """Each pack is there twice. One collector marks the old ones, another, who looked before that,
    the new ones. The first has looked and is about to delete when the second begins to look: it
    must know the first one's mark, though that goes before the second has looked at everything."""
    start = world.clone()
    old, new = packed_twice(start)
    first = trash.put_mark(start.open(), Mark(packs=old))
    steps = steps_until(start, sweeps(first), lambda here: len(packs_of(here)) < len(old + new))
    for calls in range(1, 60):
        here = start.clone()
        sweeping = begin(here, sweeps(first))
        sweeping.step(steps - 1)
        second = trash.put_mark(here.open(), Mark(packs=new))
        late = begin(here, sweeps(second))
        late.step(calls)
        sweeping.finish()
        late.finish()
        assert not sweeping.error
        assert not late.error
        here.must_read_back()


def packed_twice(world: World) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As a rewriting does it. Gives the names of the old packs and of the new ones."""
    repository, old = world.open(), found(world, names.PACKS)
    s = survey.look(repository, AtOnce())
    made = rewrite.rewrite(repository, s.packs.values(), Needs(s.refs.values()), print)
    rewrite.put_index(repository, made)
    return tuple(old), tuple(table.name.hex() for table in made)


def sweeps(digest: str) -> Work:
    def work(world: World, repository: Repository) -> None:
        (seen,) = (seen for seen in trash.seen(repository) if seen.digest == digest)
        collect.sweep(repository, seen, 0, AtOnce())

    return work


def test_what_visible_refs_need_is_kept_before_there_is_a_manifest(world: World) -> None:
    steps = steps_until(world, backs_up_old_data, has_more(world, names.REFS))
    here = world.clone()
    run = begin(here, backs_up_old_data)
    run.step(steps - 1)
    prunes(DAY, DAY)(here, here.open())  # it marks what the run leans on
    (seen,) = trash.seen(here.open())
    assert seen.mark.packs
    here.time.seconds += 3 * DAY
    run.step()
    prunes(2 * DAY, 0)(here, here.open())
    assert not found(here, names.WRITING)
    run.finish()
    assert run.error is None
    here.must_read_back()


def test_a_run_whose_needs_are_gone_shows_no_snapshot_at_any_instant(world: World) -> None:
    steps = steps_until(world, backs_up_old_data, has_more(world, names.REFS))
    here = world.clone()
    run = begin(here, backs_up_old_data)
    run.step(steps - 1)
    collected(here)
    before = found(here, names.SNAPSHOTS)
    while not run.is_done:
        run.step()
        assert found(here, names.SNAPSHOTS) == before
    assert isinstance(run.error, StorageError)


def test_a_manifest_that_came_after_its_needs_were_gone_is_taken_back(world: World) -> None:
    steps = steps_until(world, backs_up_old_data, has_more(world, names.SNAPSHOTS))
    here = world.clone()
    run = begin(here, backs_up_old_data)
    run.step(steps - 1)
    collected(here)
    before = found(here, names.SNAPSHOTS)
    run.finish()
    assert isinstance(run.error, StorageError)
    assert found(here, names.SNAPSHOTS) == before
    here.must_read_back()


def test_a_run_whose_refs_are_marked_does_not_commit(world: World) -> None:
    here = world.clone()
    before = set(found(here, names.REFS))
    run = begin(here, backs_up_old_data)
    until(run, lambda: set(found(here, names.REFS)) - before)
    trash.put_mark(here.open(), Mark(refs=tuple(set(found(here, names.REFS)) - before)))
    for sign in found(here, names.WRITING):
        here.storage.delete(names.WRITING + sign)
    run.finish()
    assert isinstance(run.error, StorageError)
    assert found(here, names.SNAPSHOTS) == found(world, names.SNAPSHOTS)


@pytest.mark.parametrize("is_damaged", [False, True], ids=["all sound", "one piece damaged"])
def test_a_replication_takes_back_what_came_after_its_needs_were_gone(
    world: World, is_damaged: bool
) -> None:
    """Also where it ends in words about something else, as it may each night."""
    source, start = world.clone(), world.clone()
    if is_damaged:
        source.storage.put(names.EVIDENCE + "0" * 64, b"not what was written")
    for folder in (names.SNAPSHOTS, names.REFS):
        for info in list(start.storage.list(folder)):
            start.storage.delete(info.name)
    start.before = source
    steps = steps_until(start, replicates, has_more(start, names.SNAPSHOTS))
    here = start.clone()
    run = begin(here, replicates)
    run.step(steps - 1)
    collected(here)
    run.finish()
    assert isinstance(run.error, StorageError)
    here.must_read_back()


def test_whoever_dies_in_a_sweep_leaves_nothing_that_misses_something(world: World) -> None:
    start = world.clone()
    stream = writer_of(start, "123").stream  # its session goes with them
    writer_of(start, "45")
    back_up_database(start, start.open(), stream, "4")
    start.time.seconds += 3 * DAY
    prunes(DAY, DAY)(start, start.open())
    start.time.seconds += 3 * DAY
    steps = steps_until(start, prunes(DAY, 0), lambda here: not found(here, names.MARKS))
    first = steps_until(start, prunes(DAY, 0), lambda here: found(here, names.SWEEPING))
    for calls in range(first, steps):
        here = start.clone()
        pruning = begin(here, prunes(DAY, 0))
        pruning.step(calls)
        pruning.kill()
        must_miss_nothing(here)


def must_miss_nothing(world: World) -> None:
    repository = world.open()
    packs = {found_.name: found_ for found_ in map(repository.read_toc, packs_of(world))}
    segments = {(s.session, s.number) for table in packs.values() for s in table.segments}
    sessions = {session.hex() for session, _ in segments} | log_sessions(world)
    assert sessions <= set(found(world, names.SESSIONS))
    named = {table.name for table in tables_of(repository, found(world, names.INDEX))}
    assert named <= packs.keys()
    for digest in found(world, names.REFS):
        plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, digest)
        assert not Needs([documents.decode_refs(plain)]).lost(segments)
    for digest in found(world, names.TRASHED):
        manifest = catalog.manifest(repository, digest, names.TRASHED)
        assert manifest.refs in found(world, names.REFS)


# -- copies ---------------------------------------------------------------------------------------


def test_a_copy_gets_no_snapshot_that_was_committed_after_its_needs_were_looked_at(
    world: World,
) -> None:
    """What it needs was left out then, since nothing needed it yet."""
    for calls in range(1, 60):
        here, copy = world.clone(), world.clone()
        here.before = here
        before = set(found(here, names.PACKS))
        backing = begin(here, lambda w, r: w.back_up(r, "late", {b"late": CHANCE_BYTES}))
        until(backing, lambda h=here, b=before: set(found(h, names.PACKS)) - b)
        copying = Actor("copying", lambda actor, c=copy, h=here: replicate_from(h, c, actor))
        copying.step(calls)
        backing.finish()
        copying.finish()
        assert copying.error is None
        copy.trees = here.trees
        copy.must_read_back()


CHANCE_BYTES = bytes(range(250)) * 16


def replicate_from(source: World, copy: World, actor: Actor) -> None:
    bring_up_to_date(
        Stepped(source.storage, actor),
        copy.storage,
        source.open,
        Rule(last=9),
        AtOnce(),
        Time(),
        copy.randomness,
        Silent(),
    )


def test_whatever_a_mark_names_what_a_snapshot_needs_stays(world: World) -> None:
    here = world.clone()
    with_log(here)
    everything = Mark(
        refs=tuple(found(here, names.REFS)),
        index=tuple(found(here, names.INDEX)),
        packs=tuple(found(here, names.PACKS)),
        sessions=tuple(found(here, names.SESSIONS)),
        log=tuple(info.name for info in here.storage.list(names.LOG)),
    )
    trash.put_mark(here.open(), everything)
    kept = [names.REFS, names.PACKS, names.SESSIONS, names.INDEX]
    before = [found(here, folder) for folder in kept]
    here.time.seconds += 3 * DAY
    prunes(0, 0, keep=9)(here, here.open())
    assert [found(here, folder) for folder in kept] == before
    assert log_files(here) == ["2", "3", "4", "5"]
    here.must_read_back()


def test_every_pack_that_stays_is_named_by_an_index_that_stays(world: World) -> None:
    """Else a reader, who looks into indexes only, would not find what is there."""
    here = world.clone()
    before = set(found(here, names.PACKS))
    for _ in range(2):
        effort = Effort(0, 0, rewrite_bytes=0)
        prune(here.open(), Rule(last=1), effort, AtOnce(), Time(), Silent())
        here.time.seconds += 3 * DAY
    assert 0 < len(before & set(found(here, names.PACKS))) < len(before)
    named = {table.name.hex() for table in tables_of(here.open(), found(here, names.INDEX))}
    assert named == set(found(here, names.PACKS))


def test_a_pack_that_is_cut_short_proves_no_whole_twin_needless(world: World) -> None:
    """As a prune leaves them that was killed before it marked what it had copied."""
    here = world.clone()
    repository = here.open()
    s = survey.look(repository, AtOnce())
    made = rewrite.rewrite(repository, s.packs.values(), Needs(s.refs.values()), print)
    rewrite.put_index(repository, made)
    for use in s.packs.values():
        data = here.storage.get(use.info.name)
        here.storage.put(use.info.name, data[: len(data) // 2], replace=True)
    collected(here, times=3)
    here.must_read_back()


@pytest.mark.parametrize(
    "folder",
    [names.SNAPSHOTS, names.REFS, names.INDEX, names.HOLDS, names.TRASHED, names.MARKS],
)
def test_who_cannot_read_what_is_needed_deletes_nothing(world: World, folder: str) -> None:
    here = marked(world)
    hold(here, found(here, names.SNAPSHOTS)[0])
    for info in list(here.storage.list(folder)):
        here.storage.put(info.name, bytes(info.size_bytes), replace=True)
    must_refuse(here)


def test_a_snapshot_whose_refs_are_lost_stops_all_removing(world: World) -> None:
    here = marked(world)
    newest = catalog.manifest(here.open(), found(here, names.SNAPSHOTS)[0])
    here.storage.delete(names.REFS + newest.refs)
    must_refuse(here)


def test_a_damaged_pack_is_not_copied_under_a_name_that_proves_it(world: World) -> None:
    """Its segments would count as sound, and what could mend it would be deleted."""
    here = world.clone()
    for info in list(here.storage.list(names.PACKS)):
        data = bytearray(here.storage.get(info.name))
        data[20] ^= 1
        here.storage.put(info.name, data, replace=True)
    before, told = set(found(here, names.PACKS)), []
    here.time.seconds += 3 * DAY
    s = survey.look(here.open(), AtOnce())
    needs = Needs(refs for digest, refs in s.refs.items())
    assert rewrite.rewrite(here.open(), s.packs.values(), needs, told.append) == []
    assert len(told) == len(before)
    collected(here)  # whatever can go goes: a damaged one in the way would fill the disk
    assert set(found(here, names.PACKS)) < before
    (digest,) = found(here, names.REFS)
    plain = here.open().get_meta(names.REFS, documents.REFS_MAGIC, digest)
    packs = map(here.open().read_toc, packs_of(here))
    segments = {(s.session, s.number) for table in packs for s in table.segments}
    assert not Needs([documents.decode_refs(plain)]).lost(segments)


def must_refuse(world: World) -> None:
    before = {i.name for i in world.storage.list() if i.name != names.CLOCK}
    world.time.seconds += 3 * DAY
    with pytest.raises(IntegrityError):
        prunes(0, 0)(world, world.open())
    assert {i.name for i in world.storage.list() if i.name != names.CLOCK} == before


def test_old_data_that_is_stored_again_outlives_the_mark(world: World) -> None:
    here = marked(world)
    backs_up_old_data(here, here.open())
    for _ in range(2):
        here.time.seconds += 3 * DAY
        prunes(0, 0)(here, here.open())
    here.must_read_back()
    assert OLD in here.trees.values()
    with pytest.raises(DrctlError):
        undelete(here.open(), found(world, names.SNAPSHOTS)[0], Time())
