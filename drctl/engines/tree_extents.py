"""Where a file's content belongs: its data, without its holes."""

import os

from drctl.model import Entry

Extents = list[tuple[int, int]]  # (offset, length) that is still to be written


def extents_of(entry: Entry, skipped: int = 0) -> Extents:
    """Where an entry's content belongs, without so many of its first bytes."""
    if not entry.extents:
        return [(skipped, max(0, entry.size - skipped))]
    extents: Extents = []
    for offset, length in zip(entry.extents[::2], entry.extents[1::2], strict=True):
        passed = min(skipped, length)
        skipped -= passed
        if passed < length:
            extents.append((offset + passed, length - passed))
    return extents


def write_extents(descriptor: int, extents: Extents, piece: memoryview) -> None:
    """Write a piece of content where it belongs, and nothing beyond."""
    for offset, length in extents:
        part, piece = piece[:length], piece[length:]
        at = offset
        while part:
            done = os.pwrite(descriptor, part, at)
            at, part = at + done, part[done:]
        if not piece:
            return
