"""PostgreSQL's page checksums, many pages at a time.

The algorithm is that of src/include/storage/checksum_impl.h: 32 parallel FNV-1a-like sums over the
page, its own checksum taken as zero, mixed with the block's number.
"""

import os
from collections.abc import Sequence
from typing import Any

# Read when numpy is loaded: threads for linear algebra, which nobody here asks for, take time and
# memory to start.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy

# Arrays of nothing but one number: a bare number is made into one in each of many calls.
_PRIME = numpy.array(16777619, numpy.uint32)
_SHIFT = numpy.array(17, numpy.uint32)
_NOTHING = numpy.array(0, numpy.uint32)
_SUMS = 32
_ROUNDS = 2
_OFFSETS = numpy.array(
    [
        0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2,
        0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C,
        0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979,
        0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
        0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
    ],
    dtype=numpy.uint32,
)  # fmt: skip
# Pages at a time, a window of a file: fewer take half as long again, in calls and in handing the
# interpreter on between them; more would not stay in a core's own cache.
_BATCH = 512

Buffer = bytes | memoryview
Words = numpy.ndarray[Any, numpy.dtype[Any]]


def bad_pages(data: Buffer, page_bytes: int, blocks: Sequence[range]) -> list[tuple[int, int]]:
    """Places (0, 1, ...) of the pages that the server would not take, as its PageIsVerified says:
    whose checksum is wrong, or that were never initialised and are not all zeros. Each with the LSN
    that it claims to be of. `blocks`: the pages' numbers in their relations."""
    count = sum(map(len, blocks))
    if not count:
        return []
    numbers = numpy.concatenate([numpy.arange(b.start, b.stop, dtype=numpy.uint32) for b in blocks])
    words = numpy.frombuffer(data, "<u4", count * page_bytes // 4).reshape(count, -1)
    stored = words[:, 2] & numpy.uint32(0xFFFF)  # pd_checksum: bytes 8 and 9
    upper = words[:, 3] >> numpy.uint32(16)  # pd_upper: bytes 14 and 15
    made = numpy.empty(count, numpy.uint32)
    for start in range(0, count, _BATCH):
        made[start : start + _BATCH] = _sums(words[start : start + _BATCH])
    expected = (made ^ numbers) % numpy.uint32(65535) + numpy.uint32(1)
    odd = numpy.flatnonzero((expected != stored) | (upper == 0))
    return (
        [_claimed(words, int(place)) for place in odd[words[odd].any(axis=1)]] if len(odd) else []
    )


def _claimed(words: Words, place: int) -> tuple[int, int]:
    return place, int(words[place, 0]) << 32 | int(words[place, 1])


def _sums(words: Words) -> Words:
    """One number a page."""
    rows = words.reshape(len(words), -1, _SUMS)
    sums = numpy.broadcast_to(_OFFSETS, (len(words), _SUMS)).copy()
    scratch = numpy.empty_like(sums)
    for at in range(rows.shape[1]):
        row = rows[:, at, :]
        if not at:
            row = row.copy()
            row[:, 2] &= numpy.uint32(0xFFFF0000)
        _mix(sums, row, scratch)
    for _ in range(_ROUNDS):
        _mix(sums, _NOTHING, scratch)
    mixed: Words = numpy.bitwise_xor.reduce(sums, axis=1)
    return mixed


def _mix(sums: Words, value: Any, scratch: Words) -> None:
    """In place: sums ^= value; sums = sums * PRIME ^ (sums >> 17)."""
    numpy.bitwise_xor(sums, value, out=sums)
    numpy.right_shift(sums, _SHIFT, out=scratch)
    numpy.multiply(sums, _PRIME, out=sums)
    numpy.bitwise_xor(sums, scratch, out=sums)
