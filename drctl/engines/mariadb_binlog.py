"""The binlog's form, as far as drctl must read it: where transactions begin and end, and when each
was committed. Pure functions of bytes; what is in a transaction is for mariadb-binlog to say.

A file is `fe 62 69 6e` and events. An event is a header of 19 bytes (second, type, server, size,
end, flags) and a body, which ends with a CRC-32 where the first event says so. A transaction is a
run of events that a GTID event opens. See https://mariadb.com/kb/en/replication-protocol/.
"""

import re
import struct
from collections.abc import Iterator

from msgspec import Struct

from drctl.engines.mariadb_invoker import Invoked, invoked
from drctl.errors import IntegrityError

MAGIC = b"\xfebin"
IN_USE_AT = 21  # the byte of the first event's flags that says that the server has the file open
_HEADER = struct.Struct("<IBIIIH")
_GTID = struct.Struct("<QIB")
_QUERY, _STOP, _ROTATE, _FORMAT, _XID, _XA_PREPARE = 2, 3, 4, 15, 16, 38
_EXECUTE_LOAD, _CHECKPOINT, _GTID_EVENT, _GTID_LIST, _ENCRYPTION, _QUERY_COMPRESSED = (
    18, 161, 162, 163, 164, 165,
)  # fmt: skip
_OUTSIDE = frozenset({_STOP, _ROTATE, _FORMAT, _CHECKPOINT, _GTID_LIST, _ENCRYPTION})
_STATEMENTS = frozenset({_QUERY, _QUERY_COMPRESSED, _EXECUTE_LOAD, _XA_PREPARE, _XID})
_TEXTS = frozenset({_QUERY, _QUERY_COMPRESSED, _EXECUTE_LOAD})  # of one head
_STANDALONE = 1
_ENDING = re.compile(rb"COMMIT|ROLLBACK", re.IGNORECASE)  # and no more: not ROLLBACK TO a savepoint
_NAME = re.compile(r"(.+)\.(\d{6,})")

State = dict[int, tuple[int, int]]  # domain -> (server, sequence number)


class Group(Struct, frozen=True):
    """A whole transaction, or a statement that stands alone; `second` is that of its commit, since
    1970. It lies from `begin` to `end` of its file. `errors`: with which of the server's errors
    statements in it ended half way, where a replica is to meet them as well. `by`: who ran a
    statement that stands alone, where that matters."""

    domain: int
    server: int
    sequence: int
    begin: int
    end: int
    second: int
    errors: tuple[int, ...] = ()
    by: Invoked | None = None

    @property
    def gtid(self) -> str:
        return f"{self.domain}-{self.server}-{self.sequence}"


class _Event(Struct, frozen=True):
    second: int
    kind: int
    server: int
    begin: int
    end: int


def _events(data: bytes | memoryview) -> Iterator[_Event]:
    """Every whole event; a cut one at the end is left out. Raises IntegrityError."""
    if bytes(data[:4]) != MAGIC[: len(data[:4])]:
        raise IntegrityError("is not a binlog")
    at, size = 4, len(data)
    while at + _HEADER.size <= size:
        second, kind, server, length, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            raise IntegrityError(f"has an event of {length} bytes at {at}")
        if at + length > size:
            return
        yield _Event(second, kind, server, at, at + length)
        at += length


def groups(data: bytes | memoryview) -> Iterator[Group]:
    """The transactions of a file, or of its beginning, in order. One whose end is not there is no
    transaction yet. Raises IntegrityError."""
    checked = 0
    head: _Event | None = None
    errors: list[int] = []
    for event in _events(data):
        if event.kind == _FORMAT:
            checked = 4 if data[event.end - 5] else 0
        elif event.kind == _GTID_EVENT:
            head, errors = event, []
        elif event.kind in _OUTSIDE:
            head = None
        elif head:
            errors += _errors(data, event)
            if _ends(data, head, event, checked):
                yield _group(data, head, event, tuple(errors), checked)
                head = None


def _group(
    data: bytes | memoryview, head: _Event, last: _Event, errors: tuple[int, ...], checked: int
) -> Group:
    sequence, domain, _ = _GTID.unpack_from(data, head.begin + _HEADER.size)
    by = None
    if last.kind in (_QUERY, _QUERY_COMPRESSED) and _is_alone(data, head) and not errors:
        by = invoked(data, last.begin, last.end - checked, is_packed=last.kind == _QUERY_COMPRESSED)
    return Group(domain, head.server, sequence, head.begin, last.end, last.second, errors, by)


def _is_alone(data: bytes | memoryview, head: _Event) -> bool:
    """Such as XA COMMIT, and DDL."""
    return bool(data[head.begin + _HEADER.size + 12] & _STANDALONE)


def _errors(data: bytes | memoryview, event: _Event) -> tuple[int, ...]:
    """The error that a statement ended with, where it changed something all the same."""
    if event.kind not in _TEXTS:
        return ()
    (code,) = struct.unpack_from("<H", data, event.begin + _HEADER.size + 9)
    return (code,) if code else ()


def _ends(data: bytes | memoryview, head: _Event, event: _Event, checked: int) -> bool:
    """Whether a transaction ends with this event."""
    if event.kind not in _STATEMENTS:
        return False
    if _is_alone(data, head) or event.kind in (_XID, _XA_PREPARE):
        return True
    return event.kind == _QUERY and bool(_ENDING.fullmatch(_statement(data, event, checked)))


def _statement(data: bytes | memoryview, event: _Event, checked: int) -> bytes:
    """The text of a QUERY event: behind its variables and its database's name."""
    at = event.begin + _HEADER.size
    name_length = data[at + 8]
    (variables,) = struct.unpack_from("<H", data, at + 11)
    text_at = at + 13 + variables + name_length + 1
    return bytes(data[text_at : event.end - checked])


def begun_second(data: bytes | memoryview) -> int:
    """When the server began the file, by its first event. Raises IntegrityError."""
    event = next(_events(data), None)
    if event is None:
        raise IntegrityError("has no whole event")
    return event.second


def state_before(data: bytes | memoryview) -> State:
    """What had been written when the file was begun: its GTID list."""
    for event in _events(data):
        if event.kind == _GTID_LIST:
            at = event.begin + _HEADER.size
            count = struct.unpack_from("<I", data, at)[0] & 0x0FFFFFFF
            found = [struct.unpack_from("<IIQ", data, at + 4 + 16 * i) for i in range(count)]
            return {domain: (server, sequence) for domain, server, sequence in found}
        if event.kind == _GTID_EVENT:
            break
    return {}


def parse_state(text: str) -> State:
    """`0-1-100,1-1-7` as a state. Raises ValueError."""
    parts = [part.strip().split("-") for part in text.split(",") if part.strip()]
    if any(len(part) != 3 for part in parts):
        raise ValueError(f"'{text}' is no GTID, such as 0-1-100")
    return {int(domain): (int(server), int(sequence)) for domain, server, sequence in parts}


def next_name(name: str) -> str:
    """The file that the server begins after this one. Raises ValueError."""
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(f"'{name}' is no binlog's name")
    return f"{found[1]}.{int(found[2]) + 1:06d}"


def as_closed(data: bytearray, offset: int) -> None:
    """What is stored of a file does not say whether the server has it open: that changes, and the
    event's checksum is of the file as it is when closed."""
    if offset <= IN_USE_AT < offset + len(data):
        data[IN_USE_AT - offset] &= ~1
