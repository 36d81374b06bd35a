"""Tablespaces that the log makes behind a base: a restored cluster makes them inside itself.

A record of CREATE TABLESPACE holds the whole path of its directory. A server that replays it takes
what lies there for its own, also where that is the data of the server that was saved, and runs. So
the path is taken out of the record before anybody replays it. With an empty one PostgreSQL makes
the tablespace as a directory in the data directory, `pg_tblspc/<number>`, since 10.22, 11.17,
12.12, 13.8 and 14.5; an older one ends with an error there, and has written nowhere else.

A record is found by its manager and known by its checksum, so no pg_waldump of the server's version
is needed. Each page of the log begins with a head, and a record goes on behind the next one's, also
where that is in the next segment.
"""

import mmap
import os
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from msgspec import Struct

from drctl.engines.postgres_wal import number_of

# Else a server that finds such a directory when it is consistent, as a standby does, ends there.
ALLOWING = "allow_in_place_tablespaces = on\n"
_RECORD = struct.Struct("=IIQBBHI")  # length, transaction, previous, info, manager, 0, checksum
_CHECKSUM_AT = 20  # in it
# Behind the byte at 16 of a record: its manager and two zeros. That byte has four flags, and which
# of its records it is: 0, CREATE. It lies at a multiple of eight, as the begin of a record does.
_TABLESPACE = re.compile(rb"\x05\x00\x00")
_MOST_FLAGS = 0x0F
_MOST_BYTES = 2048  # of such a record: a path has fewer than 1024
# What may stand before the number and the path: blocks' origin, a transaction; the data's length.
_BEFORE = {0xFD: 3, 0xFC: 5, 0xFF: 2, 0xFE: 5}
_DATA = (0xFF, 0xFE)
_FIRST_HEAD, _PAGE_HEAD, _PAGE_BYTES_AT = 40, 24, 36
_PAGE_SIZES = frozenset(1024 << power for power in range(7))
_POLYNOMIAL = 0x82F63B78  # CRC-32C
_WINDOW_BYTES = 16 << 20  # that are looked through at once

Bytes = bytes | mmap.mmap


class Made(Struct, frozen=True, order=True):
    """A tablespace by its number, and the place that the log had for it."""

    number: int
    place: str


class _Change(Struct, frozen=True):
    path: str
    at: int
    content: bytes


def make_inside(folder: str, names: Iterable[str], segment_bytes: int) -> list[Made]:
    """Take the paths out of the segments `names` in a directory. Raises OSError."""
    numbered: dict[int, list[str]] = defaultdict(list)
    for name in set(names):
        numbered[number_of(name, segment_bytes)].append(os.path.join(folder, name))
    found = [
        each
        for number, paths in numbered.items()
        for path in paths
        for each in _found(path, numbered.get(number + 1, [""]))
    ]
    for _, changes in found:  # only now: of two timelines both are read as they were
        for change in changes:
            _write(change)
    return sorted({made for made, _ in found})


def _found(path: str, nexts: Sequence[str]) -> Iterator[tuple[Made, list[_Change]]]:
    """Of more than one timeline there may be a next segment, and the record goes on in one."""
    own = _mapped(path)
    for after in nexts:
        chain = _Chain(own, _begin(after) if after else b"")
        for start in chain.starts():
            places = chain.places(start)
            record = _whole(b"".join(chain.part(at, at + 1) for at in places))
            at = _path_at(record)
            if not at or not record[at]:
                continue
            empty = record[:at] + b"\0" + record[at + 1 :]
            wanted = {places[at]: b"\0", places[_CHECKSUM_AT]: struct.pack("=I", _checksum(empty))}
            yield (
                _made(record, at),
                [
                    _Change(path, place, content)
                    if place < len(own)
                    else _Change(after, place - len(own), content)
                    for place, content in wanted.items()
                ],
            )


def _mapped(path: str) -> Bytes:
    """A segment has up to 1 GiB."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _begin(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(2 * max(_PAGE_SIZES))


def _write(change: _Change) -> None:
    descriptor = os.open(change.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, change.content, change.at)
    finally:
        os.close(descriptor)


class _Chain:
    """A segment, and the begin of the next one."""

    def __init__(self, own: Bytes, after: bytes) -> None:
        self._segment, self._after = own, after
        self._own = len(own)
        self._bytes = len(own) + len(after)
        told = int.from_bytes(own[_PAGE_BYTES_AT:_FIRST_HEAD], sys.byteorder)
        self._page = told if told in _PAGE_SIZES else 0  # 0: nothing was written there

    def part(self, begin: int, end: int) -> bytes:
        """What lies there, shorter where it ends."""
        over = self._after[max(begin - self._own, 0) : max(end - self._own, 0)]
        return self._segment[begin:end] + over

    def starts(self) -> Iterator[int]:
        """Where a record may begin that makes a tablespace."""
        for begin in range(0, self._bytes if self._page else 0, _WINDOW_BYTES):
            window = self.part(begin, begin + _WINDOW_BYTES)
            for found in _TABLESPACE.finditer(window):
                at = found.start() - 1
                if at % 8 or window[at] > _MOST_FLAGS:
                    continue
                start = self._back(self._back(begin + at))
                if 0 <= start < self._own:
                    yield start

    def _head(self, page: int) -> int:
        return _FIRST_HEAD if page in {0, self._own} else _PAGE_HEAD

    def _back(self, at: int) -> int:
        """Eight bytes before, as records are read: the heads of pages are none of it."""
        page = at - at % self._page
        return at - 8 if at - page >= self._head(page) + 8 else page - 8

    def places(self, start: int) -> list[int]:
        """Where each byte of a record lies that begins there; empty: none of this kind does."""
        length = int.from_bytes(self.part(start, start + 4), sys.byteorder)
        found: list[int] = []
        while _RECORD.size < length <= _MOST_BYTES and len(found) < length:
            page = start - start % self._page
            start = max(start, page + self._head(page))
            end = min(page + self._page, start + length - len(found), self._bytes)
            if end <= start:
                return []
            found += range(start, end)
            start = end
        return found


def _whole(record: bytes) -> bytes:
    """Empty: it is none."""
    if len(record) <= _RECORD.size:
        return b""
    return record if _RECORD.unpack_from(record)[-1] == _checksum(record) else b""


def _path_at(record: bytes) -> int:
    """0: there is none."""
    at = _RECORD.size
    while at < len(record):
        kind = record[at]
        at += _BEFORE.get(kind, len(record))
        if kind in _DATA:
            return at + 4 if at + 4 < len(record) else 0
    return 0


def _made(record: bytes, at: int) -> Made:
    (number,) = struct.unpack_from("=I", record, at - 4)
    return Made(number, os.fsdecode(record[at:].partition(b"\0")[0]))


def _checksum(record: bytes) -> int:
    """What follows the head comes first; the head, up to the checksum, last."""
    value = 0xFFFFFFFF
    for byte in record[_RECORD.size :] + record[:_CHECKSUM_AT]:
        value = _table()[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@cache
def _table() -> list[int]:
    values = list(range(256))
    for _ in range(8):
        values = [value >> 1 ^ (_POLYNOMIAL if value & 1 else 0) for value in values]
    return values
