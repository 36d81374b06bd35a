"""A clock that tests own."""

import itertools

import pytest


class Ticking:
    """Each look is a millisecond later; sleeping moves it on at once."""

    def __init__(self) -> None:
        self._ns = itertools.count(1_700_000_000_000_000_000, 1_000_000)
        self.slept = 0.0

    def now_ns(self) -> int:
        return next(self._ns) + round(self.slept * 1e9)

    def monotonic_seconds(self) -> float:
        return self.now_ns() / 1e9

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.fixture
def clock() -> Ticking:
    return Ticking()
