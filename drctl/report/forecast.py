"""What recovery would take today, and when growth breaks the objective: from what drills measured.

The method. Each drill gives a point: the bytes that it restored, and the machine's seconds from the
declaration to the last required step or check. A straight line is fitted through the newest points
by least squares; its interval is the one that the next drill falls into nine times of ten, by
Student's t. Where drills restored much the same amount there is no line to be seen: then their mean
is told, for as long as today's data is about as large. The time that people took is added as it was
on average. Growth is the straight line through the sizes of the snapshots. Fewer points than these
need give no number: what is not known is said to be unknown, with what it needs.
"""

from collections.abc import Sequence
from math import sqrt

from msgspec import Struct

NEEDED_DRILLS = 4
NEWEST_DRILLS = 24
NEEDED_DAYS = 3  # rounded: no timer makes the fourth daily snapshot to the second
_ALIKE = 1.1  # largest to smallest: less tells nothing of how time grows with size
_ABOUT = 1.25  # how far beyond what was drilled the mean still holds
_FAR = 3.0  # and a line
_HORIZON_DAYS = 3650
# Student's t, 5 % on each side, by degrees of freedom; beyond these it is nearly the last.
_T = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812,
      1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734, 1.729, 1.725)  # fmt: skip


class Drilled(Struct, frozen=True):
    """What one drill measured."""

    size_bytes: int
    machine_seconds: float
    human_seconds: float


class Line(Struct, frozen=True):
    """y = mean_y + slope * (x - mean_x). `spread`: of single points around it; `sxx` of the x."""

    count: int
    mean_x: float
    mean_y: float
    slope: float
    sxx: float
    spread: float

    def at(self, x: float) -> float:
        return self.mean_y + self.slope * (x - self.mean_x)

    def half(self, x: float) -> float:
        """How far the next point may lie from the line, nine times of ten."""
        freedom = self.count - (2 if self.sxx else 1)
        far = (x - self.mean_x) ** 2 / self.sxx if self.sxx else 0.0
        return _T[min(freedom, len(_T)) - 1] * self.spread * sqrt(1 + 1 / self.count + far)


class Forecast(Struct, frozen=True):
    """`low_seconds` to `high_seconds`: where the next drill's RTA lies, nine times of ten. `why`:
    why nothing is known of it. `breaks_in_days` and `may_break_in_days`: when the RTA, and its
    upper end, go beyond the objective; None where `until` says why not."""

    drills: int
    size_bytes: int
    rto_seconds: float | None
    expected_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    why: str = ""
    breaks_in_days: float | None = None
    may_break_in_days: float | None = None
    until: str = ""


def forecast(
    drilled: Sequence[Drilled],
    size_bytes: int,
    sizes: Sequence[tuple[float, float]],
    rto_seconds: float | None,
) -> Forecast:
    """`drilled`: oldest first; `size_bytes`: today's; `sizes`: (days, bytes) of the data so far."""
    points = drilled[-NEWEST_DRILLS:]
    base = Forecast(len(points), size_bytes, rto_seconds)
    if len(points) < NEEDED_DRILLS:
        return _unknown(base, f"needs {NEEDED_DRILLS} drills, has {len(points)}")
    line, reach = _line_of(points)
    if size_bytes > reach:
        return _unknown(base, "the data has outgrown what was drilled: drill again")
    human = sum(p.human_seconds for p in points) / len(points)
    return _told(base, line, human, sizes)


def _unknown(base: Forecast, why: str) -> Forecast:
    return Forecast(base.drills, base.size_bytes, base.rto_seconds, why=why, until=why)


def _line_of(points: Sequence[Drilled]) -> tuple[Line, float]:
    """The line, and how much data it may be asked about."""
    largest, smallest = (f(p.size_bytes for p in points) for f in (max, min))
    pairs = [(float(p.size_bytes), p.machine_seconds) for p in points]
    if largest > _ALIKE * smallest:
        line = fit(pairs)
        if line.slope > 0:
            return line, largest * _FAR
    return fit([(0.0, y) for _, y in pairs]), largest * _ABOUT


def fit(pairs: Sequence[tuple[float, float]]) -> Line:
    """Least squares; where all x are the same, the mean."""
    n = len(pairs)
    mean_x, mean_y = (sum(pair[i] for pair in pairs) / n for i in (0, 1))
    sxx = sum((x - mean_x) ** 2 for x, _ in pairs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / sxx if sxx else 0.0
    left = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in pairs)
    freedom = n - (2 if sxx else 1)
    return Line(n, mean_x, mean_y, slope, sxx, sqrt(left / freedom) if freedom > 0 else 0.0)


def _told(
    base: Forecast, line: Line, human: float, sizes: Sequence[tuple[float, float]]
) -> Forecast:
    size, rto = float(base.size_bytes), base.rto_seconds
    expected, half = line.at(size) + human, line.half(size)

    def first_day(upper: bool) -> float | None:
        for day in range(_HORIZON_DAYS + 1):
            grown = size + growth * day
            if line.at(grown) + (line.half(grown) if upper else 0.0) + human > (rto or 0.0):
                return float(day)
        return None

    growth, until = _growth(sizes)
    breaks = may = None
    if rto is None:
        until = "the plan has no rto"
    elif not line.slope and not until:
        until = "drills restored too much the same amount to tell how time grows"
    elif not until:
        breaks, may = first_day(False), first_day(True)
        until = "" if breaks is not None else "not within ten years"
    return Forecast(
        base.drills,
        base.size_bytes,
        rto,
        expected,
        max(expected - half, 0.0),
        expected + half,
        breaks_in_days=breaks,
        may_break_in_days=may,
        until=until,
    )


def _growth(sizes: Sequence[tuple[float, float]]) -> tuple[float, str]:
    """Bytes a day; or why there is no such number."""
    days = [day for day, _ in sizes]
    if len(sizes) < NEEDED_DRILLS or round(max(days) - min(days)) < NEEDED_DAYS:
        return 0.0, f"its growth needs snapshots of {NEEDED_DAYS} days or more"
    slope = fit(sizes).slope
    return slope, "" if slope > 0 else "the data does not grow"
