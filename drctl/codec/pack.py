"""A pack: magic, sealed segments, the sealed table of contents, its length, magic again.

    DRCTLP01 | segment ... segment | table of contents (metadata seal) | u32 length | DRCTLP01

The table of contents makes a lost index rebuildable, and is found from the end of the object.
"""

import struct

from drctl.codec import table
from drctl.codec.seal import Buffer
from drctl.errors import IntegrityError

MAGIC = b"DRCTLP01"
TOC_MAGIC = b"DRCTLT01"
TAIL = struct.Struct("<I8s")
HEAD_BYTES = len(MAGIC)


def tail(sealed_toc: bytes) -> bytes:
    """What stands behind the last segment."""
    return sealed_toc + TAIL.pack(len(sealed_toc), MAGIC)


def toc_length(last: Buffer, pack_bytes: int) -> int:
    """Length in bytes of the sealed table of contents, from the pack's last TAIL.size bytes."""
    if len(last) != TAIL.size:
        raise IntegrityError("is too short for a pack")
    length, magic = TAIL.unpack(last)
    if magic != MAGIC or length > pack_bytes - HEAD_BYTES - TAIL.size:
        raise IntegrityError("does not end as a pack does")
    return int(length)


def decode_toc(plain: bytes, toc_offset: int) -> tuple[table.Segment, ...]:
    """The segments of a pack whose table of contents lies at `toc_offset`. Raises IntegrityError
    when they do not lie one after the other between the head and the table."""
    packs = table.decode(plain)
    if len(packs) != 1:
        raise IntegrityError("its table of contents describes no pack or several")
    at = HEAD_BYTES
    for segment in packs[0].segments:
        if segment.offset != at or sum(size for _, size in segment.blobs) != segment.raw_bytes:
            raise IntegrityError("its table of contents does not fit its segments")
        at += segment.stored_bytes
    if at != toc_offset:
        raise IntegrityError("its table of contents does not fit its size")
    return packs[0].segments
