"""What a restore to a time leaves out, though it was committed before that time by its own word.

The log is in the order of commits, and each bears the time of the source's clock. PostgreSQL stops
before the first that bears a later time than was asked for: nothing behind it ever comes back.
Where that one's clock was ahead, what was committed behind it is left out, and a person must hear
of it. Of commits at once the one that stands first may be the later one, by very little: that is no
clock's fault, and nobody can tell which of them was meant.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from drctl.engines import postgres_layout as layout
from drctl.engines import postgres_recovery as recovery
from drctl.engines.child import running
from drctl.engines.postgres_client import lsn_of
from drctl.engines.postgres_server import programs
from drctl.engines.postgres_wal import Base, number_of
from drctl.logpieces import LogFile
from drctl.private import passing_directory
from drctl.units import count

_ENDING = re.compile(
    rb"tx: +(\d+), lsn: (\S+), .*?desc: (COMMIT|ABORT)\S* (?:(\d+): )?(\S+ \S+) UTC"
)
_AT_ONCE = timedelta(seconds=1)


class Ending(Struct, frozen=True):
    """Of a transaction. A prepared one is ended by another, and goes by its own number."""

    transaction: int
    lsn: int
    is_commit: bool
    time: str


class LeftOut(Struct, frozen=True):
    """`ahead`: before which replay stops. `last`: the last of those behind that are of before the
    time."""

    ahead: Ending
    transactions: int
    last: Ending

    @property
    def words(self) -> str:
        """For a person, who may want these after all."""
        number = count(self.transactions, "transaction", "transactions")
        return (
            f"left out: {number} of before that time, since transaction {self.ahead.transaction}, "
            f"which ended first, bears a later one ({self.ahead.time}+00:00): a clock was ahead. "
            f"--until transaction:{self.last.transaction} goes to the last of them, with all "
            "before it"
        )


def left_out(
    top: str, segments: Iterable[str], base: Base, major: int, at_ns: int, files: Iterable[LogFile]
) -> LeftOut | None:
    """`segments`: names of what a restored directory replays, of which the log brought `files`.
    They are read up to where replay stops; and on, as long as they were first stored before the
    time, or some are found. Raises TargetRefused."""
    looking = _Looking(recovery.show_time(at_ns).removesuffix("+00"))
    enough = _stored_before(at_ns, base, files)
    for ending in _endings(top, segments, base, major):
        here = ending.lsn // base.segment_bytes
        if looking.take(ending):
            enough = max(enough, here + 1)
        elif looking.ahead and here > enough:
            break
    return looking.found


def _stored_before(at_ns: int, base: Base, files: Iterable[LogFile]) -> int:
    """The number of the last segment of which some was stored by then."""
    return max(
        (
            number_of(file.file, base.segment_bytes)
            for file in files
            if layout.SEGMENT.fullmatch(file.file)
            and any(piece.stored_at_ns <= at_ns for piece in file.pieces)
        ),
        default=0,
    )


class _Looking:
    """What was seen so far."""

    def __init__(self, until: str) -> None:
        self._until = until
        self.ahead: Ending | None = None
        self._transactions = 0
        self._oldest = until
        self._last: Ending | None = None

    def take(self, ending: Ending) -> bool:
        """Whether replay stops before this one, or it is one that is left out."""
        if ending.time > self._until:
            is_first = self.ahead is None
            self.ahead = self.ahead or ending
            return is_first
        if self.ahead is None or not ending.is_commit:
            return False
        self._transactions += 1
        self._oldest = min(self._oldest, ending.time)
        self._last = ending
        return True

    @property
    def found(self) -> LeftOut | None:
        if self.ahead is None or self._last is None:
            return None
        apart = datetime.fromisoformat(self.ahead.time) - datetime.fromisoformat(self._oldest)
        return LeftOut(self.ahead, self._transactions, self._last) if apart > _AT_ONCE else None


# -- reading the log ------------------------------------------------------------------------------


def _endings(top: str, segments: Iterable[str], base: Base, major: int) -> Iterator[Ending]:
    """All behind the base, as they stand in the log."""
    first = base.end // base.segment_bytes
    names = [name for name in segments if number_of(name, base.segment_bytes) >= first]
    with passing_directory() as folder:
        links = [_link(folder, top, name) for name in sorted(names, key=lambda name: name[8:])]
        for line in _lines(major, links) if links else ():
            if (ending := _ending(line)) and ending.lsn >= base.end:
                yield ending


def _link(folder: str, top: str, name: str) -> str:
    """pg_waldump follows the names of one timeline, and the log may change over to another."""
    link = os.path.join(folder, "00000001" + name[8:])
    os.symlink(os.path.join(os.path.abspath(top), "pg_wal", name), link)
    return link


def _lines(major: int, links: Sequence[str]) -> Iterator[bytes]:
    """They are not kept: a log may have millions."""
    reader = os.path.join(programs(major), "pg_waldump")
    argv = (reader, "--rmgr=Transaction", links[0], os.path.basename(links[-1]))
    with running(argv, stdout=subprocess.PIPE) as child:
        yield from child.output
        recovery.refuse_unread(child.wait(), child.words)


def _ending(line: bytes) -> Ending | None:
    found = _ENDING.search(line)
    if not found:
        return None
    own, lsn, what, prepared, time = (part.decode() if part else "" for part in found.groups())
    return Ending(int(prepared or own), lsn_of(lsn), what == "COMMIT", time)
