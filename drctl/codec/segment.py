"""A segment: blobs gathered in order, compressed together and sealed once."""

import struct
import threading
from collections.abc import Sequence

import zstandard

from drctl.codec.limits import SEGMENT_MAX_BYTES
from drctl.codec.seal import Buffer, DataSeal, decompress
from drctl.errors import IntegrityError

RAW, ZSTD = 0, 1
_HEADER = struct.Struct("<BI")  # compression, raw length in bytes: authenticated, not stored here
# Level 3 with tables a quarter as large: they stay in the cache that one core has for itself, which
# costs half a percent of size and saves up to a tenth of the time.
_TABLES = {3: {"hash_log": 16, "chain_log": 15}}
_local = threading.local()


def _compressor(level: int) -> zstandard.ZstdCompressor:
    """One for each thread and level: making one costs more than a segment's compression."""
    made: dict[int, zstandard.ZstdCompressor] = _local.__dict__.setdefault("made", {})
    if level not in made:
        parameters = zstandard.ZstdCompressionParameters(
            compression_level=level, **_TABLES.get(level, {})
        )
        made[level] = zstandard.ZstdCompressor(compression_params=parameters)
    return made[level]


def is_oversized(raw_bytes: int) -> bool:
    """No decoder takes such a segment; early drctls wrote some all the same."""
    return raw_bytes > SEGMENT_MAX_BYTES


def encode(seal: DataSeal, number: int, blobs: Sequence[Buffer], level: int) -> tuple[int, bytes]:
    """Compress and seal the blobs, one after the other. Gives (compression, sealed bytes).

    Where compression saves less than a thirty-second, the bytes stay raw: they are read faster.
    Raises ValueError for what no decoder would take.
    """
    raw = blobs[0] if len(blobs) == 1 else b"".join(blobs)
    if is_oversized(len(raw)):
        raise ValueError(f"segment {number}: {len(raw)} bytes are more than can be read again")
    packed = _compressor(level).compress(raw)
    if len(packed) >= len(raw) - (len(raw) >> 5):
        return RAW, seal.seal(number, raw, _HEADER.pack(RAW, len(raw)))
    return ZSTD, seal.seal(number, packed, _HEADER.pack(ZSTD, len(raw)))


def decode(seal: DataSeal, number: int, compression: int, raw_bytes: int, sealed: Buffer) -> bytes:
    """The blobs of a segment, one after the other: `raw_bytes` bytes. Raises IntegrityError."""
    if is_oversized(raw_bytes):
        raise IntegrityError(f"segment {number}: {raw_bytes} bytes are more than can be read")
    if compression not in (RAW, ZSTD) or raw_bytes < 0:
        raise IntegrityError(f"segment {number}: unknown compression or size")
    packed = seal.open(number, sealed, _HEADER.pack(compression, raw_bytes))
    raw = decompress(packed, SEGMENT_MAX_BYTES) if compression == ZSTD else packed
    if len(raw) != raw_bytes:
        raise IntegrityError(f"segment {number}: {len(raw)} bytes instead of {raw_bytes}")
    return raw
