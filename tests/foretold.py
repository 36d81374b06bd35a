"""What a forecast must say, worked out another way: with numpy, and Student's t by integration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TEN_YEARS_DAYS = 3650


@dataclass(frozen=True)
class Foretold:
    """`breaks_in_days`: None where time does not grow with size, or so little with each day's data
    that ten years do not break the objective."""

    expected: float
    low: float
    high: float
    growth_bytes_a_day: float
    breaks_in_days: int | None


def foretold(
    drilled: Sequence[tuple[int, float]], sizes: Sequence[tuple[float, int]], rto: float
) -> Foretold:
    """`drilled`: bytes and seconds; `sizes`: days and bytes, today's last."""
    x, y = np.array(drilled, dtype=float).T
    slope, base = np.polyfit(x, y, 1)
    if slope <= 0:  # then their mean is all that is known
        slope, base, x = 0.0, y.mean(), np.zeros_like(y)
    days, data = np.array(sizes, dtype=float).T
    growth = float(np.polyfit(days - days[0], data, 1)[0])
    now = data[-1] if slope else 0.0
    expected, half = float(base + slope * now), _half(x, y - base - slope * x, now)
    days_left = ((rto - base) / slope - now) / growth if slope else math.inf
    breaks = max(0, math.floor(days_left) + 1) if days_left < TEN_YEARS_DAYS else None
    return Foretold(expected, max(expected - half, 0.0), expected + half, growth, breaks)


def _half(x: np.ndarray, left: np.ndarray, at: float) -> float:
    """How far the next point may lie from the line, nine times of ten."""
    apart = float(((x - x.mean()) ** 2).sum())
    freedom = len(x) - (2 if apart else 1)
    spread = math.sqrt(float((left**2).sum()) / freedom)
    far = (at - x.mean()) ** 2 / apart if apart else 0.0
    return _t(freedom) * spread * math.sqrt(1 + 1 / len(x) + far)


def _t(freedom: int) -> float:
    """Beyond it lie 5 % of Student's t."""
    steps = np.linspace(0, 20, 400_001)
    density = (1 + steps**2 / freedom) ** (-(freedom + 1) / 2)
    density *= math.gamma((freedom + 1) / 2) / math.gamma(freedom / 2)
    density /= math.sqrt(freedom * math.pi)
    below = 0.5 + np.cumsum((density[1:] + density[:-1]) / 2) * (steps[1] - steps[0])
    return float(steps[1:][np.searchsorted(below, 0.95)])
