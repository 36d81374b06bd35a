"""Refs that go away beside a collector are no damage. Real stories of two, at the copy and at the
original, in which a prune once said that the refs of a sound repository's snapshot were lost."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promises import collected, found, has_more, steps_until, until
from stepped import Actor, AtOnce, must_be_understood
from test_collect import DAY, Time
from test_interleavings import (  # noqa: F401
    NEW,
    Work,
    World,
    begin,
    calls,
    prunes,
    replicates,
    small_packs,
    world,
)

from drctl.errors import IntegrityError
from drctl.events import Event, Notice
from drctl.ops.prune import Effort, prune
from drctl.repository import catalog, names
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule


def backs_up_the_same(world: World, repository: Repository) -> None:
    """What it needs stays, whatever becomes of it: the newest snapshot needs it, too."""
    world.back_up(repository, "second", NEW)


def with_two_of_the_same(world: World) -> World:
    here = world.clone()
    here.back_up(here.open(), "first", NEW)
    here.time.seconds += DAY
    return here


def test_a_snapshot_that_another_prune_removes_meanwhile_is_not_damaged(world: World) -> None:
    start = with_two_of_the_same(world)
    told = Told()

    def looks(here: World, repository: Repository) -> None:
        prune(repository, Rule(last=1), Effort(0, 0, 1 << 30), AtOnce(), Time(), told)

    for paused_at in range(1, calls(start, looks)):
        here = start.clone()
        looking = begin(here, looks)
        looking.step(paused_at)
        collected(here)
        looking.finish()
        must_be_understood(looking)
        here.must_read_back()
    assert not told.warnings


# -- a commit that comes after a sweep took its refs -----------------------------------------------


def late_at_the_original(world: World) -> tuple[World, Work]:
    return world.clone(), backs_up_the_same


def late_at_a_copy(world: World) -> tuple[World, Work]:
    """The copy has everything but the newest of two snapshots of the same."""
    copy = world.clone()
    copy.before = with_two_of_the_same(world)
    copy.trees = copy.before.trees
    return copy, replicates


def paused_before_it_commits(start: World, commits: Work) -> tuple[World, Actor]:
    """For so long that it is taken for dead, and its refs, which no snapshot names, go."""
    steps = steps_until(start, commits, has_more(start, names.SNAPSHOTS))
    here = start.clone()
    here.before = start.before
    run = begin(here, commits)
    run.step(steps - 1)
    before = set(found(here, names.REFS))
    collected(here)
    assert before - set(found(here, names.REFS))
    run.step()
    return here, run


LATE = pytest.mark.parametrize("where", [late_at_the_original, late_at_a_copy])


@LATE
@pytest.mark.parametrize("is_killed", [False, True], ids=["goes on", "is killed"])
def test_a_prune_beside_a_commit_that_is_late_finds_no_damage(
    world: World, where: object, is_killed: bool
) -> None:
    start, commits = where(world)
    here, run = paused_before_it_commits(start, commits)
    late = set(found(here, names.SNAPSHOTS))
    if is_killed:
        run.kill()
    told = Told()
    effort = Effort(DAY, DAY, 1 << 30)
    prune(here.open(), Rule(last=1), effort, AtOnce(), Time(), told)
    assert [what for what in told.warnings if "taken for dead" in what]
    assert late - set(found(here, names.SNAPSHOTS))
    run.finish()
    must_be_understood(run)
    collected(here)
    here.must_read_back()


@LATE
def test_a_sweep_that_dies_has_noted_the_refs_that_it_took(world: World, where: object) -> None:
    start, commits = where(world)
    steps = steps_until(start, commits, has_more(start, names.SNAPSHOTS))
    for calls_of_sweep in range(80):
        here = start.clone()
        here.before = start.before
        run = begin(here, commits)
        run.step(steps - 1)
        here.time.seconds += 3 * DAY
        sweep = begin(here, prunes(0, 0))
        until(sweep, lambda h=here: found(h, names.SWEEPING))
        sweep.step(calls_of_sweep)
        sweep.kill()
        run.step()
        run.kill()
        prunes(DAY, DAY)(here, here.open())
        here.must_read_back()


@pytest.mark.parametrize("is_killed", [False, True], ids=["goes on", "is killed"])
def test_the_next_replication_brings_what_was_late(world: World, is_killed: bool) -> None:
    here, run = paused_before_it_commits(*late_at_a_copy(world))
    if is_killed:
        run.kill()
    run.finish()
    (wanted,) = set(found(here.before, names.SNAPSHOTS)) - set(found(world, names.SNAPSHOTS))
    for work in (prunes(DAY, DAY, keep=9), replicates, prunes(DAY, DAY, keep=9)):
        work(here, here.open())
    assert wanted in found(here, names.SNAPSHOTS)
    here.must_read_back()


@LATE
def test_refs_that_are_really_lost_are_found_beside_what_was_late(
    world: World, where: object
) -> None:
    here, run = paused_before_it_commits(*where(world))
    late = set(found(here, names.SNAPSHOTS)) - set(found(world, names.SNAPSHOTS))
    run.kill()
    (sound, *_) = set(found(here, names.SNAPSHOTS)) - late
    here.storage.delete(names.REFS + catalog.manifest(here.open(), sound).refs)
    before = found(here, names.SNAPSHOTS)
    with pytest.raises(IntegrityError, match=f"refs of snapshot {sound[:8]} are lost"):
        prunes(0, 0)(here, here.open())
    assert found(here, names.SNAPSHOTS) == before


class Told:
    """A reporter that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            self.warnings.append(event.text)
