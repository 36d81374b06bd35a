"""The table that says where blobs lie: blob -> segment -> pack.

A pack's table of contents describes one pack, an index object many. Both are the same columns of
little-endian numbers, so reading a million blobs is a few copies and one loop.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate

import msgspec
from msgspec import Struct

from drctl.codec import UNREADABLE
from drctl.errors import IntegrityError
from drctl.model import ID_SIZE

SESSION_ID_BYTES = 16


class Segment(Struct, frozen=True):
    """One segment in its pack. `blobs` is (id, length in bytes), in the order they lie in."""

    session: bytes
    number: int
    offset: int  # in the pack
    stored_bytes: int
    raw_bytes: int
    compression: int
    blobs: tuple[tuple[bytes, int], ...]


class PackTable(Struct, frozen=True):
    """The segments of one pack. In the pack's own table of contents `name` is empty."""

    name: bytes  # 32 bytes: SHA-256 of the pack
    segments: tuple[Segment, ...]


class Columns(msgspec.Struct, array_like=True, frozen=True):
    """The encoded form: each field little-endian numbers or fixed-size records, end to end."""

    sessions: bytes  # 16 bytes each
    packs: bytes  # 32 bytes each
    pack_segments: bytes  # u32: segments of each pack
    session: bytes  # u32: each segment's place in `sessions`
    number: bytes  # u64
    offset: bytes  # u32
    stored: bytes  # u32
    raw: bytes  # u32
    compression: bytes  # u8
    segment_blobs: bytes  # u32: blobs of each segment
    ids: bytes  # 32 bytes each
    lengths: bytes  # u32


def _little(code: str, values: Iterable[int]) -> bytes:
    column = array(code, values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def numbers(code: str, column: bytes) -> "array[int]":
    """The reverse. `code` is array's: B, I or Q. Raises IntegrityError on a ragged column."""
    values: array[int] = array(code)
    if len(column) % values.itemsize:
        raise IntegrityError("a column of its table is cut short")
    values.frombytes(column)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def encode(packs: Sequence[PackTable]) -> bytes:
    """Tables of packs as one run of columns."""
    segments = [segment for pack in packs for segment in pack.segments]
    sessions = {s: i for i, s in enumerate(dict.fromkeys(s.session for s in segments))}
    blobs = [blob for segment in segments for blob in segment.blobs]
    return msgspec.msgpack.encode(
        Columns(
            sessions=b"".join(sessions),
            packs=b"".join(pack.name for pack in packs),
            pack_segments=_little("I", (len(pack.segments) for pack in packs)),
            session=_little("I", (sessions[s.session] for s in segments)),
            number=_little("Q", (s.number for s in segments)),
            offset=_little("I", (s.offset for s in segments)),
            stored=_little("I", (s.stored_bytes for s in segments)),
            raw=_little("I", (s.raw_bytes for s in segments)),
            compression=_little("B", (s.compression for s in segments)),
            segment_blobs=_little("I", (len(s.blobs) for s in segments)),
            ids=b"".join(blob_id for blob_id, _ in blobs),
            lengths=_little("I", (length for _, length in blobs)),
        )
    )


def decode_columns(plain: bytes) -> Columns:
    """Raises IntegrityError when the columns do not fit each other."""
    try:
        columns = msgspec.msgpack.decode(plain, type=Columns)
    except UNREADABLE as error:
        raise IntegrityError(f"its table does not decode: {error}") from error
    _check(columns)
    return columns


def _check(c: Columns) -> None:
    per_pack, per_segment = numbers("I", c.pack_segments), numbers("I", c.segment_blobs)
    of_session = numbers("I", c.session)
    segments, blobs = len(per_segment), len(numbers("I", c.lengths))
    fits = (
        len(c.sessions) % SESSION_ID_BYTES == 0
        and len(c.packs) in (len(per_pack) * ID_SIZE, 0)
        and sum(per_pack) == segments == len(of_session) == len(numbers("Q", c.number))
        and segments == len(numbers("I", c.offset)) == len(numbers("I", c.stored))
        and segments == len(numbers("I", c.raw)) == len(c.compression)
        and sum(per_segment) == blobs
        and len(c.ids) == blobs * ID_SIZE
        and max(of_session, default=-1) < len(c.sessions) // SESSION_ID_BYTES
    )
    if not fits:
        raise IntegrityError("the columns of its table do not fit each other")


def decode(plain: bytes) -> list[PackTable]:
    """The table as values, for rebuilding and checking. Raises IntegrityError."""
    c = decode_columns(plain)
    segments = iter(_segments(c))
    packs = []
    for i, count in enumerate(numbers("I", c.pack_segments)):
        name = c.packs[i * ID_SIZE : (i + 1) * ID_SIZE]
        packs.append(PackTable(name, tuple(next(segments) for _ in range(count))))
    return packs


def _segments(c: Columns) -> Iterable[Segment]:
    lengths = numbers("I", c.lengths)
    counts = numbers("I", c.segment_blobs)
    columns = zip(
        numbers("I", c.session),
        numbers("Q", c.number),
        numbers("I", c.offset),
        numbers("I", c.stored),
        numbers("I", c.raw),
        c.compression,
        counts,
        accumulate(counts),
        strict=True,
    )
    for session, number, offset, stored, raw, compression, count, end in columns:
        first = end - count
        ids = (c.ids[i * ID_SIZE : (i + 1) * ID_SIZE] for i in range(first, end))
        blobs = tuple(zip(ids, lengths[first:end], strict=True))
        at = session * SESSION_ID_BYTES
        name = c.sessions[at : at + SESSION_ID_BYTES]
        yield Segment(name, number, offset, stored, raw, compression, blobs)
