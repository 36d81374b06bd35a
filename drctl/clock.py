"""Time and randomness, passed in so that tests own both."""

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970 UTC."""
        ...

    def monotonic_seconds(self) -> float:
        """A clock that never goes back, for durations."""
        ...

    def sleep(self, seconds: float) -> None: ...


class Randomness(Protocol):
    """Where keys, salts and ids come from: `size` unpredictable bytes."""

    def __call__(self, size: int, /) -> bytes: ...


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_seconds(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


system_randomness: Randomness = os.urandom
