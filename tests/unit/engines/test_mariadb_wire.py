"""A binlog beyond 4 GiB is followed as any other, though the protocol counts in 32 bits."""

import struct
from contextlib import contextmanager

import pytest
from pymysql.protocol import MysqlPacket

from drctl.engines import mariadb_wire as wire
from drctl.errors import SourceError

FILE = "binlog.000001"
QUERY = 2


class Sender:
    """A connection on which a server sends these events, each of one size and with its end."""

    def __init__(self, size: int, *ends: int) -> None:
        self._events = [wire._HEADER.pack(0, QUERY, 7, size, end, 0) for end in ends]
        self._size = size
        self.asked = b""

    @contextmanager
    def cursor(self):
        yield self

    def execute(self, words: str) -> None:
        """One of the settings."""

    def _execute_command(self, _: int, asked: bytes) -> None:
        self.asked = asked

    def _read_packet(self) -> MysqlPacket:
        return MysqlPacket(b"\0" + self._events.pop(0).ljust(self._size, b"x"), "utf8")


def begins(sender: Sender, position: int, count: int) -> list[tuple[int, int]]:
    parts = wire.follow(sender, FILE, position, 1)  # type: ignore[arg-type]
    found = [next(parts) for _ in range(count)]
    return [(part.begin, len(part.data)) for part in found]


def test_an_event_may_end_beyond_what_it_can_tell() -> None:
    at = 0xFFFF_FF00
    sender = Sender(128, at + 128, 0, 128)
    assert begins(sender, at, 3) == [(at, 128), (at + 128, 128), (1 << 32, 128)]
    assert struct.unpack_from("<I", sender.asked) == (at,)
    with pytest.raises(SourceError, match="is due"):
        begins(Sender(128, at + 128, 256), at, 2)


def test_a_place_that_cannot_be_asked_for_is_come_to_from_the_beginning() -> None:
    sender = Sender(100, 104, 204)
    assert begins(sender, (1 << 32) + 100, 2) == [(4, 0), (104, 0)]
    assert struct.unpack_from("<I", sender.asked) == (4,)
