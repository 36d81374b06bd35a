"""What recovery would take is told only as far as drills can tell, and as exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drctl.report.forecast import Drilled, fit, forecast

GIB = 1 << 30
GROWING = [(float(day), (10 + day) * GIB) for day in range(10)]  # one GiB a day


def drilled(*points: tuple[float, float]) -> list[Drilled]:
    return [Drilled(round(gib * GIB), seconds, 0.0) for gib, seconds in points]


LINEAR = drilled((10, 110.0), (12, 130.0), (14, 150.0), (16, 170.0))  # 10 s, and 10 s a GiB


def test_few_drills_give_no_number_and_say_what_is_needed() -> None:
    told = forecast(LINEAR[:3], 16 * GIB, GROWING, 600.0)
    assert told.expected_seconds is None
    assert told.why == "needs 4 drills, has 3"


def test_a_line_is_followed_to_the_day_on_which_it_breaks_the_objective() -> None:
    told = forecast(LINEAR, 19 * GIB, GROWING, 600.0)
    assert told.expected_seconds == pytest.approx(200.0)
    assert told.low_seconds == pytest.approx(told.high_seconds)  # it lay on the line exactly
    assert told.breaks_in_days == 41.0  # at 59 GiB it is 600 s, and then a day more
    assert told.why == told.until == ""


def test_the_upper_end_breaks_it_earlier() -> None:
    rough = [Drilled(p.size_bytes, p.machine_seconds + n, 0.0) for n, p in enumerate((*LINEAR,))]
    rough[1] = Drilled(rough[1].size_bytes, rough[1].machine_seconds + 20, 0.0)
    told = forecast(rough, 19 * GIB, GROWING, 600.0)
    assert told.low_seconds < told.expected_seconds < told.high_seconds
    assert told.may_break_in_days < told.breaks_in_days


def test_drills_of_one_size_give_their_mean_and_no_date() -> None:
    same = drilled((10, 100.0), (10, 104.0), (10.2, 96.0), (10, 100.0))
    told = forecast(same, 11 * GIB, GROWING, 600.0)
    assert told.expected_seconds == pytest.approx(100.0)
    assert told.low_seconds < 96
    assert told.high_seconds > 104
    assert told.breaks_in_days is None
    assert "too much the same amount" in told.until


@pytest.mark.parametrize(("points", "gib"), [(LINEAR, 49), (drilled(*[(10, 100.0)] * 4), 13)])
def test_nothing_is_told_far_beyond_what_was_drilled(points, gib) -> None:
    told = forecast(points, gib * GIB, GROWING, 600.0)
    assert told.expected_seconds is None
    assert "drill again" in told.why


def test_people_take_as_long_as_they_did() -> None:
    waited = [Drilled(p.size_bytes, p.machine_seconds, 60.0) for p in LINEAR]
    assert forecast(waited, 19 * GIB, GROWING, 600.0).expected_seconds == pytest.approx(260.0)


@pytest.mark.parametrize(
    ("sizes", "rto", "until"),
    [
        (GROWING, None, "no rto"),
        (GROWING[:2], 600.0, "needs snapshots of 3 days"),
        ([(day, 10.0 * GIB) for day, _ in GROWING], 600.0, "does not grow"),
        ([(day, 10.0 * GIB + day) for day, _ in GROWING], 600.0, "not within ten years"),
    ],
)
def test_where_there_is_no_date_it_is_said_why(sizes, rto, until) -> None:
    told = forecast(LINEAR, 19 * GIB, sizes, rto)
    assert told.breaks_in_days is None
    assert until in told.until


def test_daily_snapshots_that_a_timer_makes_a_little_early_are_days_apart_all_the_same() -> None:
    early = [(day - day / 1000, size) for day, size in GROWING[:4]]
    assert forecast(LINEAR, 19 * GIB, early, 600.0).breaks_in_days is not None


def test_what_is_broken_today_breaks_today() -> None:
    assert forecast(LINEAR, 19 * GIB, GROWING, 100.0).breaks_in_days == 0.0


numbers = st.floats(1, 1e6)


@given(st.lists(st.tuples(numbers, numbers), min_size=4, max_size=20, unique_by=lambda p: p[0]))
def test_the_line_is_the_one_that_numpy_finds(pairs) -> None:
    x, y = np.array(pairs).T
    if np.ptp(x) < 1:
        return
    slope, intercept = np.polyfit(x, y, 1)
    assert fit(pairs).at(x[0]) == pytest.approx(slope * x[0] + intercept, rel=1e-4, abs=1e-3)
