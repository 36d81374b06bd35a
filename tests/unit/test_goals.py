"""How far a log is replayed for a time that a person named."""

import pytest

from drctl.cli.goals import goal_of
from drctl.engines.base import Goal
from drctl.model import Snapshot
from drctl.repository.catalog import serves

SECOND = 10**9
NOON = 1_772_366_400 * SECOND
NAMED = NOON + SECOND - 1  # as '12:00:00' is read: all of its second


def snapshot(usable_ns: int, **facts: str) -> Snapshot:
    facts["usable_from_ns"] = str(usable_ns)
    return Snapshot("a" * 64, "db", "postgres", "h", usable_ns, 0, 0, 1, 1, 1, 0, facts=facts)


def test_nothing_of_the_second_itself_comes_back_from_a_log() -> None:
    """The mistake that one wants to undo may lie in it."""
    goal = goal_of(snapshot(NOON - SECOND, log_stream="s"), NAMED, None, "latest")
    assert goal == Goal("time", str(NOON))


@pytest.mark.parametrize(("facts", "serving"), [({"log_stream": "s"}, False), ({}, True)])
def test_a_snapshot_of_within_the_second_is_meant_where_no_log_leads_there(facts, serving) -> None:
    found = snapshot(NOON + 1, **facts)
    assert serves(found, NAMED) is serving
    assert goal_of(found, NAMED, None, "latest") == Goal("immediate")
