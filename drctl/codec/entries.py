"""Entries in blocks, and the root that lists the blocks.

A block ends where the hash of a path says so, not after a count, so that one file more changes one
block and the others are the same blobs as before. The root also holds what only an identity may
read: the paths of the roots, owners' names.
"""

from collections.abc import Iterable, Iterator
from zlib import crc32

import msgspec

from drctl.codec import UNREADABLE
from drctl.errors import IntegrityError
from drctl.model import ID_SIZE, Entry, Kind, sort_key

_MASK = 0x1FF  # a block ends after one path in 512
BLOCK_MOST_ENTRIES = 4096
BLOCK_MOST_BYTES = 1 << 20  # of blob lists
BLOCK_MOST_ENCODED_BYTES = 4 << 20  # what is larger, by its attributes or extents, is halved
XATTRS_MOST_BYTES = 8 << 20  # of one entry: it must find room in a segment by itself

_encode = msgspec.msgpack.Encoder().encode
_decode_block = msgspec.msgpack.Decoder(list[Entry]).decode


class BlockInfo(msgspec.Struct, frozen=True, array_like=True):
    """One block: the path of its first entry, its blob's id, how many entries it holds."""

    first: bytes
    blob: bytes
    entries: int


class Root(msgspec.Struct, frozen=True):
    """The root of a snapshot's entries, as msgpack with these names."""

    blocks: tuple[BlockInfo, ...]
    private_facts: dict[str, str] = {}


_decode_root = msgspec.msgpack.Decoder(Root).decode


def blocks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group entries, which come in order, into blocks."""
    block: list[Entry] = []
    weight = 0
    for entry in entries:
        block.append(entry)
        weight += len(entry.blobs)
        full = len(block) >= BLOCK_MOST_ENTRIES or weight >= BLOCK_MOST_BYTES
        if full or crc32(entry.path) & _MASK == 0:
            yield block
            block, weight = [], 0
    if block:
        yield block


def encoded_blocks(entries: Iterable[Entry]) -> Iterator[tuple[list[Entry], bytes]]:
    """The same with each block's bytes, none longer than can be read again."""
    for block in blocks(entries):
        yield from _halved(block)


def _halved(block: list[Entry]) -> Iterator[tuple[list[Entry], bytes]]:
    """What is too large is seen here, once a block: weighing each entry would cost every tree."""
    plain = _encode(block)
    middle = len(block) // 2
    if len(plain) <= BLOCK_MOST_ENCODED_BYTES or not middle:
        yield block, plain
        return
    del plain
    yield from _halved(block[:middle])
    yield from _halved(block[middle:])


def xattrs_bytes(entry: Entry) -> int:
    return sum(len(name) + len(value) for name, value in entry.xattrs)


def encode_block(block: list[Entry]) -> bytes:
    return _encode(block)


def decode_block(plain: bytes) -> list[Entry]:
    """Raises IntegrityError when it does not decode or holds a path that may not be."""
    try:
        block = _decode_block(plain)
    except UNREADABLE as error:
        raise IntegrityError(f"a block of entries does not decode: {error}") from error
    for entry in block:
        if not is_safe_path(entry.path) or len(entry.blobs) % ID_SIZE:
            raise IntegrityError(f"a block of entries holds a path that may not be: {entry.path!r}")
        if entry.link or entry.extents or entry.xattrs:
            _check_rare_fields(entry)
    return block


def _check_rare_fields(entry: Entry) -> None:
    """What a restore hands to the system must be what the system can take."""
    ends = [0]
    for offset, length in zip(entry.extents[::2], entry.extents[1::2], strict=False):
        ends.append(offset + length if offset >= ends[-1] and length >= 0 else entry.size + 1)
    fits = (
        b"\0" not in entry.link
        and (entry.kind != Kind.HARDLINK or is_safe_path(entry.link))
        and all(name and b"\0" not in name for name, _ in entry.xattrs)
        and len(entry.extents) % 2 == 0
        and max(ends) <= entry.size
    )
    if not fits:
        raise IntegrityError(f"a block of entries holds what may not be, at {entry.path!r}")


def is_safe_path(path: bytes) -> bool:
    """Relative, no empty, `.` or `..` component, no NUL: it cannot lead out of a target."""
    if path == b".":
        return True
    if not path or b"\0" in path:
        return False
    padded = b"/" + path + b"/"
    return b"//" not in padded and b"/../" not in padded and b"/./" not in padded


def encode_root(root: Root) -> bytes:
    return _encode(root)


def decode_root(plain: bytes) -> Root:
    """Raises IntegrityError."""
    try:
        root = _decode_root(plain)
    except UNREADABLE as error:
        raise IntegrityError(f"a snapshot's root does not decode: {error}") from error
    if any(len(block.blob) != ID_SIZE for block in root.blocks):
        raise IntegrityError("a snapshot's root names a blob that cannot be")
    keys = [sort_key(block.first) for block in root.blocks]
    if keys != sorted(keys):
        raise IntegrityError("a snapshot's root lists its blocks out of order")
    return root
