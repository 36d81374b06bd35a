"""What a verification reads each day comes round to everything, however often it is run."""

import os

import pytest

from drctl.ops.verify import Effort

NAMES = [f"packs/{os.urandom(32).hex()}" for _ in range(3000)]


@pytest.mark.parametrize(("each_days", "runs"), [(1, 14), (2, 18), (5, 12), (7, 38), (10, 12)])
def test_a_tenth_each_time_is_soon_all(each_days: int, runs: int) -> None:
    left = set(NAMES)
    for run in range(runs):
        effort = Effort(10, 20_000 + run * each_days)
        taken = [name for name in NAMES if effort.takes(name)]
        assert 200 < len(taken) < 400
        left.difference_update(taken)
    assert not left


def test_all_is_all_nothing_is_nothing_and_what_is_small_is_always_read() -> None:
    for day in range(20_000, 20_050):
        assert all(Effort(100, day).takes(name) for name in NAMES)
        assert not any(Effort(0, day).takes(name) for name in NAMES)
    assert Effort(0, 20_000).takes("snapshots/0")
