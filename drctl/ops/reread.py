"""Which unchanged files are read again all the same.

A program that writes through a mapping (mmap) may change a file without its times showing it, and
so may a disk. So each file has an instant of its own within every period, and a run reads again
those whose instants have come since the last run began: a little each time, everything once a
period, however often runs are.
"""

from collections.abc import Callable
from zlib import crc32

Again = Callable[[bytes], bool]
_CIRCLE = 1 << 32  # a hash of a path is a place on it; once round is a period


def everything(_: bytes) -> bool:
    """Somebody asked for it."""
    return True


def due(period_seconds: float | None, since_ns: int, now_ns: int) -> Again | None:
    """Whether a path's instant lies in the time since the last run; None: no path's does."""
    if period_seconds is None or since_ns >= now_ns:
        return None
    period_ns = round(period_seconds * 1e9)
    if now_ns - since_ns >= period_ns:
        return everything
    start, end = (ns % period_ns * _CIRCLE // period_ns for ns in (since_ns, now_ns))
    width = (end - start) % _CIRCLE

    def is_due(path: bytes) -> bool:
        return (crc32(path) - start) % _CIRCLE < width

    return is_due
