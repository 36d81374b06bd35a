"""Unchanged files are read again: each once in a period, however often runs are."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from drctl.ops.reread import due

DAY_NS = 24 * 3600 * 10**9
PATHS = [b"dir/%d" % n for n in range(40)]


def read_by(runs: list[int], period_days: float) -> Counter[bytes]:
    """How often each path was read by runs that began at these times."""
    found: Counter[bytes] = Counter()
    for since, now in pairwise(runs):
        again = due(period_days * 86_400, since, now)
        found.update(path for path in PATHS if again and again(path))
    return found


@given(st.integers(0, 10**18), st.lists(st.integers(1, 10 * DAY_NS), min_size=1, max_size=60))
def test_each_file_is_read_once_in_a_period(start: int, steps: list[int]) -> None:
    runs = [start]
    for step in steps:
        runs.append(min(runs[-1] + step, start + 30 * DAY_NS))
    found = read_by(runs, 30)
    assert max(found.values(), default=0) <= 1
    if runs[-1] == start + 30 * DAY_NS:
        assert set(found) == set(PATHS)


def test_a_share_is_read_with_every_run() -> None:
    a_day = read_by([0, DAY_NS], 4)
    assert 0 < len(a_day) < len(PATHS) / 2


def test_nothing_is_read_without_a_period_and_all_after_one() -> None:
    assert due(None, 0, DAY_NS) is None
    assert due(86_400, DAY_NS, 0) is None  # the clock went back
    assert read_by([0, 9 * DAY_NS], 7) == Counter(PATHS)
