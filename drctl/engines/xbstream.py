"""The stream of mariadb-backup: pieces of files that take turns.

    "XBSTCK01" | flags (1 byte) | type (1) | length of the path (4) | path
    type P: | length of the payload (8) | its offset in the file (8) | CRC-32 (4) | payload
    type E: the file is whole

Numbers are little-endian. A file's pieces come in order. The CRC-32 is not looked at: it guards
against a storage that the stream was kept on, and here it comes through a pipe.
"""

import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from drctl.errors import SourceError

_MAGIC = b"XBSTCK01"
_HEAD = struct.Struct("<8sccI")
_PAYLOAD = struct.Struct("<QQI")
_PIECE_BYTES = 1 << 20
_PATH_MOST_BYTES = 4096
_HINT = "nothing was kept; run it again, or set 'mode: copy'"


class Part(NamedTuple):
    """A piece of a file, or, without data, its end."""

    path: bytes
    offset: int
    data: memoryview | None


def parts(stream: IO[bytes]) -> Iterator[Part]:
    """What a stream holds, in pieces of at most 1 MiB. Raises SourceError for one that is cut."""
    while head := stream.read(1):
        magic, _, kind, length = _HEAD.unpack(head + _exactly(stream, _HEAD.size - 1))
        if magic != _MAGIC or length > _PATH_MOST_BYTES:
            raise SourceError("mariadb-backup's stream cannot be understood", hint=_HINT)
        path = _clean(bytes(_exactly(stream, length)))
        if kind == b"E":
            yield Part(path, 0, None)
        elif kind == b"P":
            yield from _payload(stream, path)
        else:
            what = f"mariadb-backup's stream holds a part of kind {kind!r}, which drctl cannot read"
            raise SourceError(what, hint="set 'mode: copy'")


def _payload(stream: IO[bytes], path: bytes) -> Iterator[Part]:
    left, offset, _ = _PAYLOAD.unpack(_exactly(stream, _PAYLOAD.size))
    while left:
        data = _exactly(stream, min(left, _PIECE_BYTES))
        yield Part(path, offset, data)
        left -= len(data)
        offset += len(data)


def _exactly(stream: IO[bytes], length: int) -> memoryview:
    """Raises SourceError where the stream ends before."""
    whole = memoryview(bytearray(length))
    got = 0
    while got < length:
        count = stream.readinto(whole[got:])  # type: ignore[attr-defined]
        if not count:
            raise SourceError("mariadb-backup's stream ended in the middle", hint=_HINT)
        got += count
    return whole


def _clean(path: bytes) -> bytes:
    """As an entry's path. Raises SourceError for one that leads elsewhere."""
    path = path.removeprefix(b"./")
    if not path or path.startswith(b"/") or b".." in path.split(b"/") or b"\0" in path:
        raise SourceError(f"mariadb-backup's stream holds a file called {path!r}", hint=_HINT)
    return path
