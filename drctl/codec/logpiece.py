"""A piece of a database's log, sealed under the data key of the run that stored it.

    DRCTLW01 | session (16) | number (8) | compression (1) | whole (1) | raw length (4) | proof (32)
    | sealed bytes

The head is in the clear and authenticated, together with the stream, the file and the offset that
the object's name says: no piece can be moved elsewhere unnoticed. The proof is keyed: a writer, who
cannot open a piece, tells from it whether a piece holds what it has before itself.
"""

import struct

import zstandard
from blake3 import blake3
from msgspec import Struct

from drctl.codec.keys import Secrets
from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.codec.seal import Buffer, DataSeal, decompress
from drctl.errors import IntegrityError

MAGIC = b"DRCTLW01"
_HEAD = struct.Struct("<8s16sQBBI32s")
HEAD_BYTES = _HEAD.size
_RAW, _ZSTD = 0, 1


class Place(Struct, frozen=True):
    """What a piece is a piece of. `stream`: 8 bytes."""

    stream: bytes
    file: str
    offset: int

    @property
    def bound(self) -> bytes:
        return self.stream + self.offset.to_bytes(8, "little") + self.file.encode()


class Head(Struct, frozen=True):
    """What stands before the sealed bytes."""

    session: bytes
    number: int
    compression: int
    whole: bool
    size: int
    proof: bytes

    def encode(self) -> bytes:
        return _HEAD.pack(
            MAGIC,
            self.session,
            self.number,
            self.compression,
            self.whole,
            self.size,
            self.proof,
        )


def stream_id(secrets: Secrets, asset: str, source: str) -> bytes:
    """8 bytes that stand for an asset's log as one source writes it, and give neither away."""
    return blake3(f"drctl stream\0{asset}\0{source}".encode(), key=secrets.blob_key).digest(8)


def proof(secrets: Secrets, place: Place, plain: Buffer) -> bytes:
    """32 bytes that only a holder of the blob key can make or compare."""
    made = blake3(b"drctl log" + len(place.bound).to_bytes(4, "little"), key=secrets.blob_key)
    return made.update(place.bound).update(plain).digest()


def encode(
    secrets: Secrets,
    session: tuple[bytes, DataSeal],
    number: int,
    place: Place,
    plain: Buffer,
    *,
    whole: bool,
    level: int,
) -> bytes:
    """The object's bytes. `number` was never used in this session before."""
    packed: Buffer = zstandard.ZstdCompressor(level=level).compress(plain)
    compression = _ZSTD if len(packed) < len(plain) else _RAW
    sent = packed if compression == _ZSTD else plain
    own = proof(secrets, place, plain)
    head = Head(session[0], number, compression, whole, len(plain), own).encode()
    return head + session[1].seal(number, sent, head + place.bound)


def decode_head(data: Buffer) -> Head:
    """Raises IntegrityError."""
    if len(data) < HEAD_BYTES:
        raise IntegrityError("is too short for a piece of a log")
    magic, session, number, compression, whole, size, found = _HEAD.unpack_from(data)
    if magic != MAGIC or compression > _ZSTD or whole > 1 or size > LOG_PIECE_MAX_BYTES:
        raise IntegrityError("does not begin as a piece of a log does")
    return Head(session, number, compression, bool(whole), size, found)


def decode(secrets: Secrets, seal: DataSeal, place: Place, data: Buffer) -> bytes:
    """The plain bytes. Raises IntegrityError on any wrong byte or place."""
    head = decode_head(data)
    view = memoryview(data)
    packed = seal.open(head.number, view[HEAD_BYTES:], bytes(view[:HEAD_BYTES]) + place.bound)
    plain = decompress(packed, LOG_PIECE_MAX_BYTES) if head.compression == _ZSTD else packed
    if len(plain) != head.size or proof(secrets, place, plain) != head.proof:
        raise IntegrityError("holds something else than its head says")
    return plain
