"""Who brings a removed snapshot back has it: it goes again only after another grace period."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from promises import collected, found, until
from test_collect import DAY
from test_interleavings import (  # noqa: F401
    World,
    begin,
    marked,
    prunes,
    small_packs,
    undeletes,
    world,
)

from drctl.repository import names

GRACE = 3 * DAY


def removed_again(world: World) -> World:
    """Two snapshots that a first prune removed were brought back two days later. A day on, when its
    mark is ripe, another prune has removed them again."""
    here = marked(world)
    here.time.seconds += 2 * DAY
    undeletes(here, here.open())
    here.time.seconds += DAY
    prunes(GRACE, DAY)(here, here.open())
    return here


def test_what_was_brought_back_and_removed_again_can_be_brought_back_again(world: World) -> None:
    here = removed_again(world)
    assert len(found(here, names.TRASHED)) == 2
    for _ in range(2):
        here.time.seconds += DAY
        prunes(GRACE, DAY)(here, here.open())
    undeletes(here, here.open())
    assert len(found(here, names.SNAPSHOTS)) == 3
    here.must_read_back()


def test_what_was_removed_again_goes_after_a_grace_period_of_its_own(world: World) -> None:
    here = removed_again(world)
    prunes(GRACE, DAY)(here, here.open())
    here.time.seconds += GRACE
    prunes(GRACE, DAY)(here, here.open())
    assert found(here, names.TRASHED) == []
    assert len(found(here, names.REFS)) == 1
    collected(here)
    here.must_read_back()


def test_one_that_a_killed_undelete_left_in_the_trash_has_its_own_time_too(world: World) -> None:
    here = marked(world)
    here.time.seconds += 2 * DAY
    bringing = begin(here, undeletes)
    until(bringing, lambda: len(found(here, names.SNAPSHOTS)) == 2)
    bringing.kill()
    assert set(found(here, names.SNAPSHOTS)) & set(found(here, names.TRASHED))
    here.time.seconds += DAY
    prunes(GRACE, 0)(here, here.open())  # it takes the undelete for dead
    undeletes(here, here.open())
    assert len(found(here, names.SNAPSHOTS)) == 2
    here.must_read_back()
