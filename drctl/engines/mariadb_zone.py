"""The server's own time zone, asked of it and put up again.

DDL, and all that is in statement format, says local times, in the zone of whoever wrote it: mostly
the system's. What a server tells of that (`CET`) names no rules, and another machine need not have
them. So it is asked how far it is from UTC, from 1970 to 2038, as far as a TIMESTAMP reaches, and a
private server gets just that, as a file in the form of the system's own (RFC 8536, version 1).
"""

import json
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from drctl.engines.mariadb_client import ask

if TYPE_CHECKING:
    from pymysql.connections import Connection

_LAST = 2**31 - 1
_WEEK = 7 * 86400  # no zone has changed twice in so little time
_HEAD = ">4s16x6l"
_NAME = b"local\0"

Offsets = list[tuple[int, int]]  # (since this second, so many seconds east of UTC)


def zone_of(server: "Connection[Any]") -> str:
    """As a fact of a snapshot; empty where the server cannot tell."""
    import pymysql

    try:
        ask(server, "set time_zone = 'SYSTEM'")
        return json.dumps(_offsets(server))
    except pymysql.MySQLError:  # of a version that does not know how
        return ""


def _offsets(server: "Connection[Any]") -> Offsets:
    known = sorted(_asked(server, [*range(0, _LAST, _WEEK), _LAST]).items())
    changes = [(a, b) for a, b in pairwise(known) if a[1] != b[1]]
    while open_ones := [(a[0] + b[0]) // 2 for a, b in changes if b[0] - a[0] > 1]:
        between = _asked(server, open_ones)
        changes = [_half(a, b, between) for a, b in changes]
    return [known[0], *(after for _, after in changes)]


def _half(
    before: tuple[int, int], after: tuple[int, int], between: dict[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """That half of the time in which it changed."""
    second = (before[0] + after[0]) // 2
    if second == before[0]:
        return before, after
    middle = (second, between[second])
    return (before, middle) if middle[1] != before[1] else (middle, after)


def _asked(server: "Connection[Any]", seconds: list[int]) -> dict[int, int]:
    listed = ", ".join(f"({second})" for second in seconds)
    found = ask(
        server,
        f"with t (n) as (values {listed}) select n, "  # noqa: S608 - numbers alone
        "timestampdiff(second, '1970-01-01', from_unixtime(n)) - n from t",
    )
    return {int(second): int(offset) for second, offset in found}


def zone_file(told: str) -> bytes:
    """What TZ may name: from what `zone_of` told."""
    known = [(int(since), int(offset)) for since, offset in json.loads(told)]
    kinds = list(dict.fromkeys(offset for _, offset in known))  # the first holds before all
    changes = known[1:]
    return b"".join(
        (
            struct.pack(_HEAD, b"TZif", 0, 0, 0, len(changes), len(kinds), len(_NAME)),
            *(struct.pack(">l", since) for since, _ in changes),
            *(struct.pack(">B", kinds.index(offset)) for _, offset in changes),
            *(struct.pack(">lBB", offset, 0, 0) for offset in kinds),
            _NAME,
        )
    )
