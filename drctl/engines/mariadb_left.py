"""What a restore to a time leaves out, though it was committed before that time by its own word.

The binlog is in the order of commits, and a transaction bears the second of the source's clock, or
what `SET TIMESTAMP` said. A restore stops before the first that is not before the time: nothing
later ever comes back. Where that one's second was ahead, what was committed behind it is left out,
and a person must hear of it.
"""

import os
from collections.abc import Callable, Iterator

from msgspec import Struct

from drctl.engines import mariadb_binlog as binlog
from drctl.engines.mariadb_binlog import Group
from drctl.engines.mariadb_series import mapped
from drctl.logpieces import LogFile
from drctl.units import count, show_instant

Fetch = Callable[[LogFile], str]  # gives its path
Begun = Callable[[LogFile], int]  # gives the second in which it was begun


class LeftOut(Struct, frozen=True):
    """`ahead`: where it stopped. `last`: the last of those behind that are of before the time."""

    ahead: Group
    transactions: int
    last: Group

    @property
    def words(self) -> str:
        """For a person, who may want these after all."""
        number = count(self.transactions, "transaction", "transactions")
        at = show_instant(self.ahead.second * 10**9)
        return (
            f"left out: {number} of before that time, since {self.ahead.gtid}, which was committed "
            f"first, bears a later one ({at}): a clock was ahead, or SET TIMESTAMP. "
            f"--until gtid:{self.last.gtid} goes to the last of them, with all before it"
        )


def left_out(
    path: str, end: int, until_second: int, stored: dict[str, LogFile], fetch: Fetch, begun: Begun
) -> LeftOut | None:
    """`path`: the file in which the restore stops, at `end`. Later files are read as long as they
    were begun, or first stored, before the time. Raises StorageError, IntegrityError."""
    found: list[Group] = []
    ahead: Group | None = None
    for place, at in _places(path, end, until_second, stored, fetch, begun):
        for group in _groups(place, at):
            ahead = ahead or group
            found += [group] if group.second < until_second else []
    return LeftOut(ahead, len(found), found[-1]) if ahead and found else None


def _places(
    path: str, end: int, until_second: int, stored: dict[str, LogFile], fetch: Fetch, begun: Begun
) -> Iterator[tuple[str, int]]:
    yield path, end
    name = binlog.next_name(os.path.basename(path))
    while file := stored.get(name):
        if not file.pieces:
            return
        is_stored_before = file.pieces[0].stored_at_ns < until_second * 10**9
        if not is_stored_before and begun(file) >= until_second:
            return
        place = fetch(file)
        yield place, 4
        os.unlink(place)
        name = binlog.next_name(name)


def _groups(path: str, begin: int) -> Iterator[Group]:
    with mapped(path) as view:
        yield from (group for group in binlog.groups(view) if group.begin >= begin)
