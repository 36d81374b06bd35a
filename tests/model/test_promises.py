"""Each step of the removing protocol in docs/format.md does something: without it, one of these
fails. They are exact stories where tests/model/test_interleavings.py tries all orders."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promises import (
    collected,
    found,
    hold,
    until,
)
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

from drctl.errors import StorageError
from drctl.ops.undelete import undelete
from drctl.repository import catalog, names, runs, trash
from drctl.repository.runs import Run
from drctl.repository.trash import Mark

# -- sessions -------------------------------------------------------------------------------------


def sessions_of_old_data(world: World) -> tuple[str, ...]:
    """A sweep that looked before another run's pack was there takes the pack's session away."""
    return tuple(found(world, names.SESSIONS))


def test_a_run_leans_on_no_pack_whose_session_is_going(world: World) -> None:
    here = world.clone()
    going = sessions_of_old_data(here)
    trash.put_mark(here.open(), Mark(sessions=going))
    backs_up_old_data(here, here.open())
    newest = str(len(here.trees) - 1)
    for name in found(here, names.SNAPSHOTS):
        if catalog.snapshot(name, catalog.manifest(here.open(), name)).tags[0] != newest:
            here.storage.delete(names.SNAPSHOTS + name)
    for session in going:
        here.storage.delete(names.SESSIONS + session)
    here.must_read_back()
    assert len(found(here, names.SNAPSHOTS)) == 1


def test_a_run_taken_for_dead_does_not_commit_what_a_going_session_opens(world: World) -> None:
    here = world.clone()
    before = found(here, names.REFS)
    run = begin(here, backs_up_old_data)
    until(run, lambda: found(here, names.REFS) != before)
    trash.put_mark(here.open(), Mark(sessions=sessions_of_old_data(here)))
    for sign in found(here, names.WRITING):
        here.storage.delete(names.WRITING + sign)
    run.finish()
    assert isinstance(run.error, StorageError)
    assert found(here, names.SNAPSHOTS) == found(world, names.SNAPSHOTS)


def test_a_replication_gives_nothing_whose_session_is_being_swept_at_the_copy(
    world: World,
) -> None:
    copy = marked(world)
    digest = trash.put_mark(copy.open(), Mark(sessions=sessions_of_old_data(copy)))
    trash.begin_sweep(copy.storage, digest, "0" * 32)
    with pytest.raises(StorageError, match="has to be completed first"):
        replicates(copy, copy.open())


# -- holds ----------------------------------------------------------------------------------------


def test_a_hold_that_comes_while_a_snapshot_is_removed_wins(world: World) -> None:
    here = world.clone()
    pruning = begin(here, prunes(0, 0))
    until(pruning, lambda: found(here, names.TRASHED))
    (digest,) = found(here, names.TRASHED)
    hold(here, digest)
    pruning.finish()
    assert digest in found(here, names.SNAPSHOTS)
    here.must_read_back()


def test_a_hold_brings_a_removed_snapshot_back(world: World) -> None:
    here = marked(world)
    digest = found(here, names.TRASHED)[0]
    hold(here, digest)
    for _ in range(2):
        here.time.seconds += 3 * DAY
        prunes(0, 0)(here, here.open())
    assert digest in found(here, names.SNAPSHOTS)
    here.must_read_back()


def test_a_hold_that_comes_before_a_sweep_looks_keeps_what_it_holds(world: World) -> None:
    here = marked(world)
    here.time.seconds += 3 * DAY
    pruning = begin(here, prunes(0, 0))
    until(pruning, lambda: found(here, names.SWEEPING))
    digest = found(here, names.TRASHED)[0]
    hold(here, digest)
    pruning.finish()
    prunes(0, 0)(here, here.open())
    assert digest in found(here, names.SNAPSHOTS)
    here.must_read_back()


# -- time and signs -------------------------------------------------------------------------------


def test_a_clock_that_was_years_ahead_keeps_nothing_for_years(world: World) -> None:
    """The storage's, while a run was killed and a mark was put."""
    here = world.clone()
    here.time.seconds += 9_000 * DAY
    begin(here, backs_up_old_data).step(12)
    assert found(here, names.WRITING)
    prunes(DAY, DAY)(here, here.open())
    here.time.seconds -= 9_000 * DAY
    for _ in range(3):
        here.time.seconds += 3 * DAY
        prunes(DAY, DAY)(here, here.open())
    assert not found(here, names.WRITING)
    assert not found(here, names.TRASHED)
    here.must_read_back()


def test_a_run_that_shows_itself_lives_though_it_began_while_the_clock_was_ahead(
    world: World,
) -> None:
    here, clock = world.clone(), Time()
    here.time.seconds += 9 * DAY
    run = Run(here.storage, here.randomness, clock, reviving=True)
    here.time.seconds -= 9 * DAY
    clock.seconds += 700
    run.keep_alive()
    here.time.seconds += 60
    prunes(DAY, DAY)(here, here.open())
    here.time.seconds += 2 * DAY
    clock.seconds += 700
    run.keep_alive()
    prunes(DAY, DAY)(here, here.open())
    assert run.stands()
    assert found(here, names.TRASHED), "no sweep began beside it"


@pytest.mark.parametrize("later", [3600, -30 * DAY], ids=["soon", "the clock went back"])
def test_nothing_goes_before_its_grace_period_is_over(world: World, later: int) -> None:
    here = marked(world)
    here.time.seconds += later
    before = {info.name for info in here.storage.list()}
    prunes(DAY, DAY)(here, here.open())
    assert before <= {info.name for info in here.storage.list()}
    for digest in found(here, names.TRASHED):
        undelete(here.open(), digest, Time())
    here.must_read_back()
    assert found(here, names.SNAPSHOTS) == found(world, names.SNAPSHOTS)


def pruned_an_hour_later(here: World, host: Time) -> None:
    """No data is gone by that, and what was removed can be had back."""
    for clock in {id(c): c for c in (here.time, host)}.values():
        clock.seconds += 3600
    before = set(found(here, names.PACKS))
    for _ in range(2):
        prunes(DAY, 1, host=host)(here, here.open())
    assert before <= set(found(here, names.PACKS))
    undone = begin(here, undeletes)
    undone.finish()
    assert not undone.error
    here.must_read_back()
    prunes(DAY, 1, host=host)(here, here.open())


@pytest.mark.parametrize("is_marked", [False, True], ids=["unmarked", "marked"])
@pytest.mark.parametrize("is_own", [False, True], ids=["one machine", "a NAS"])
@pytest.mark.parametrize("off", [-900 * DAY, 900 * DAY], ids=["behind", "ahead"])
def test_a_storage_whose_clock_was_wrong_cuts_no_grace_period_short(
    world: World, is_marked: bool, is_own: bool, off: int
) -> None:
    """It fell back when its battery was empty, or was years ahead, and was set right. Of one
    machine that was ahead nobody can tell that less than years went by."""
    here = marked(world) if is_marked else world.clone()
    host = Time(here.time.seconds - Time().seconds) if is_own else here.time
    here.time.seconds += off
    if is_own or off < 0:
        pruned_an_hour_later(here, host)
    here.time.seconds -= off
    pruned_an_hour_later(here, host)
    for _ in range(3):
        for clock in {id(c): c for c in (here.time, host)}.values():
            clock.seconds += 2 * DAY
        prunes(DAY, 1, host=host)(here, here.open())
    assert not found(here, names.TRASHED), "and all goes when it is over"
    here.must_read_back()


@pytest.mark.parametrize("folder", [names.PACKS, names.REFS])
def test_a_run_under_way_is_waited_for_and_what_it_wrote_is_not_marked(
    world: World, folder: str
) -> None:
    here = world.clone()
    before = set(found(here, folder))
    run = begin(here, lambda w, repository: w.back_up(repository, "second", {b"new": bytes(900)}))
    until(run, lambda: set(found(here, folder)) - before)
    here.time.seconds += 3600
    prunes(DAY, 30 * DAY)(here, here.open())
    named = {n for seen in trash.seen(here.open()) for n in (*seen.mark.packs, *seen.mark.refs)}
    assert not named & (set(found(here, folder)) - before)
    here.time.seconds += 3 * DAY
    prunes(DAY, 30 * DAY)(here, here.open())
    assert found(here, names.WRITING)
    run.finish()
    assert run.error is None


def test_an_undelete_that_begins_while_a_sweep_looks_for_others_is_safe(world: World) -> None:
    """The sweep is announced before it looks for those who rely on what is marked."""
    start = marked(world)
    start.time.seconds += 3 * DAY
    pruning = begin(start, prunes(0, 0))
    announced_at = 0
    while not found(start, names.SWEEPING):
        pruning.step()
        announced_at += 1
    pruning.kill()
    for paused_at in range(announced_at - 3, announced_at + 3):
        for calls in range(6, 30, 2):
            here = marked(world)
            here.time.seconds += 3 * DAY
            pruning, undeleting = begin(here, prunes(0, 0)), begin(here, undeletes)
            pruning.step(paused_at)
            undeleting.step(calls)
            pruning.finish()
            undeleting.finish()
            here.must_read_back()


def test_what_a_sweep_has_begun_to_delete_is_not_brought_back(world: World) -> None:
    here = marked(world)
    (seen,) = trash.seen(here.open())
    trash.begin_sweep(here.storage, seen.digest, "0" * 32)
    with pytest.raises(StorageError, match="it is too late"):
        undelete(here.open(), seen.mark.snapshots[0], Time())


def test_a_removed_snapshot_of_which_something_is_gone_is_not_brought_back(world: World) -> None:
    """As when the storage refused to delete the manifest, and deleted the packs."""
    here = marked(world)
    (seen,) = trash.seen(here.open())
    for pack in seen.mark.packs:
        here.storage.delete(names.named(names.PACKS, pack))
    for digest in seen.mark.snapshots:
        with pytest.raises(StorageError):
            undelete(here.open(), digest, Time())
    here.must_read_back()


@pytest.mark.parametrize("later", range(3))
def test_nothing_about_a_mark_outlives_a_prune_that_was_killed_as_it_removed_it(
    world: World, later: int
) -> None:
    here = marked(world)
    foreign = f"{names.SINCE}@eaDir/x"
    here.storage.put(foreign, b"of a file server")
    here.time.seconds += 3 * DAY
    sweeping = begin(here, prunes(0, 0))
    until(sweeping, lambda: not found(here, names.MARKS))
    sweeping.step(later)
    sweeping.kill()
    assert found(here, names.SWEEPING)
    collected(here)
    about = (names.MARKS, names.SINCE, names.SWEEPING)
    assert [info.name for folder in about for info in here.storage.list(folder)] == [foreign]
    here.must_read_back()


def test_a_run_that_shows_itself_after_it_was_taken_for_dead_leaves_nothing(world: World) -> None:
    here, clock = world.clone(), Time()
    here.storage.put(f"{names.WRITING}@eaDir/x", b"of a file server: no run's")
    run = Run(here.storage, here.randomness, clock, reviving=False)
    (sign,) = runs.signs(here.storage, names.WRITING)
    runs.put_out(here.storage, sign)
    clock.seconds += 700
    run.keep_alive()
    assert found(here, names.ALIVE)
    assert not run.stands()
    run.begin()
    clock.seconds += 700
    run.keep_alive()
    prunes(DAY, DAY)(here, here.open())
    assert len(found(here, names.ALIVE)) == 1, "what a living run shows stays"
    run.end()
    assert [names.digest_of(info.name) for info in here.storage.list(names.RUNS)] == ["x"]
