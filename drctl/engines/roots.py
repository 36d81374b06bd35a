"""What a snapshot of several paths tells of each: enough to notice the disk that is not mounted.

The writer credential alone reads it, so a path is a digest there. Numbers of devices change from
one start of a machine to the next; whether a path lies on the disk that the machine runs from does
not.
"""

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256

from msgspec import Struct

FACT = "paths"
_DIGITS = 12


class Root(Struct, frozen=True):
    """A path of the plan. `is_mounted`: it lies on another disk than the machine runs from."""

    digest: str
    is_empty: bool
    is_mounted: bool


def is_mounted(path: bytes) -> bool:
    """Raises OSError."""
    return os.stat(path).st_dev != os.stat("/").st_dev


def digest(path: bytes) -> str:
    return sha256(path).hexdigest()[:_DIGITS]


def tell(roots: Iterable[Root]) -> str:
    """In the plan's order."""
    return " ".join(f"{r.digest}:{'e' * r.is_empty}{'m' * r.is_mounted}" for r in roots)


def parse(text: str) -> list[Root]:
    """Of a snapshot that told nothing, none."""
    parts = (word.partition(":") for word in text.split())
    return [Root(digest, "e" in how, "m" in how) for digest, _, how in parts]


def lost(before: str, now: str) -> Iterator[str]:
    """What the paths told `before` and do not hold `now`, a sentence each."""
    was = {root.digest: root for root in parse(before)}
    roots = parse(now)
    for number, root in enumerate(roots, 1):
        old = was.get(root.digest)
        which = f"path {number} of {len(roots)}" if len(roots) > 1 else "its path"
        if old and root.is_empty and not old.is_empty:
            yield f"{which} holds nothing"
        elif old and old.is_mounted and not root.is_mounted:
            yield f"{which} lies on no disk of its own"
