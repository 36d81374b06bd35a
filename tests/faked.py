"""A clock of a program's own, by libfaketime: the real command at another time."""

import shutil
from pathlib import Path


def clock(told: str) -> dict[str, str]:
    """Variables for a program whose clock is told so: `+3d`, or `@2027-03-01 12:00:00`, in UTC.
    Files keep the times that the file system gives them, as those on another machine do."""
    faketime = shutil.which("faketime")
    assert faketime, "faketime is missing: scripts/test fetches it"
    (library,) = Path(faketime).parents[1].glob("lib/*/faketime/libfaketimeMT.so.1")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": told,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "TZ": "UTC",
    }
