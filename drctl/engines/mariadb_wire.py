"""A server's binlog over the replication protocol: events as they are written, byte for byte.

The server sends each event of a file, and in between what it makes up for its replicas: a name of
the file that follows, a copy of the first event where one begins in the middle, signs of life. What
it makes up is not in the file, and is left out; that nothing else is missing shows in each event's
own word of where it ends. See https://mariadb.com/kb/en/com_binlog_dump/.
"""

import hashlib
import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drctl.errors import SourceError

if TYPE_CHECKING:
    from pymysql.connections import Connection

_DUMP = 0x12
_WITH_ANNOTATIONS = 2  # events that are left out otherwise
_COUNTED = 0xFFFF_FFFF
_HEADER = struct.Struct("<IBIIIH")
_ROTATE, _STOP, _HEARTBEAT = 4, 3, 27
_MADE_UP = 0x20
_ALIVE_NS = 250_000_000
_NAME = re.compile(r"[ -~]+\.[0-9]{6,}")
_SETTINGS = (
    "set @master_binlog_checksum = @@global.binlog_checksum",
    "set @mariadb_slave_capability = 4",  # GTID events as they are, nothing rewritten
    f"set @master_heartbeat_period = {_ALIVE_NS}",
    "set @rpl_semi_sync_slave = 0",
)


class Part(Struct, frozen=True):
    """What came: an event of a file, with where it begins there. `data` empty: the server is alive
    and has nothing. `closes`: the file ends with it."""

    file: str
    begin: int
    data: bytes
    closes: bool = False


def replica_id(asset: str, identity: str) -> int:
    """A number that no replica should have. The server ends one of two that share theirs."""
    digest = hashlib.sha256(f"drctl {asset} {identity}".encode()).digest()
    return 0x4000_0000 | int.from_bytes(digest[:4], "big") & 0x3FFF_FFFF


def follow(server: "Connection[Any]", file: str, position: int, replica: int) -> Iterator[Part]:
    """From `position` of `file` on, through later files, for ever. Raises pymysql's errors, and
    SourceError where something is missing in between.

    The protocol counts in 32 bits. One huge transaction makes a file that is longer: it is asked
    for from its beginning then, and what is before `position` is passed over.
    """
    with server.cursor() as cursor:
        for words in _SETTINGS:
            cursor.execute(words)
    at = max(4, position) if position <= _COUNTED else 4
    due = (file, position)
    ask = struct.pack("<IHI", at, _WITH_ANNOTATIONS, replica) + file.encode()
    server._execute_command(_DUMP, ask)  # type: ignore[attr-defined]
    while True:
        data = _event(server)
        _, kind, _, _, end, flags = _HEADER.unpack_from(data)
        if kind == _ROTATE and flags & _MADE_UP:
            file, at = _names(data, file, at)
        elif kind == _HEARTBEAT or flags & _MADE_UP or end == 0 != (at + len(data)) & _COUNTED:
            yield Part(file, at, b"")
        else:
            if (at + len(data) - end) & _COUNTED:
                raise SourceError(
                    f"{file}: the server sent an event that ends at {end}, {at + len(data)} is due",
                    hint="something was left out; it is asked for again",
                )
            is_known = file == due[0] and at < due[1]
            yield Part(file, at, b"" if is_known else data, kind in (_ROTATE, _STOP))
            at += len(data)


def _event(server: "Connection[Any]") -> bytes:
    """The next event. Behind one byte of the protocol."""
    packet = server._read_packet()  # type: ignore[no-untyped-call]
    if packet.is_eof_packet():
        raise SourceError(
            "the server ended the binlog's stream", hint="it shuts down, or another one follows it"
        )
    data: bytes = packet.get_all_data()[1:]
    return data


def _names(data: bytes, file: str, at: int) -> tuple[str, int]:
    """The file, and the place in it, that a made-up event announces."""
    (position,) = struct.unpack_from("<Q", data, _HEADER.size)
    text = data[_HEADER.size + 8 :]
    for end in (len(text) - 4, len(text)):  # with a checksum, or without
        name = text[:end].decode("ascii", "replace")
        if _NAME.fullmatch(name):
            return name, (at if name == file else position)
    raise SourceError(f"{file}: the server announces a file without a name that makes sense")
