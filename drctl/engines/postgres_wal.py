"""Which WAL a restore needs of what is in the repository, and whether it is all there.

Pure reckoning over names: a segment's name is its timeline, then its number; a history file tells
where each timeline left its parent.
"""

from collections.abc import Iterable
from itertools import pairwise

from msgspec import Struct

from drctl.engines import postgres_layout as layout
from drctl.engines.postgres_client import lsn_of
from drctl.errors import StorageError, UsageError
from drctl.logpieces import LogFile

Forks = list[tuple[int, int]]  # (a timeline, where it was left), oldest first


class Base(Struct, frozen=True):
    """What a snapshot brings: `reached` is the number of the last segment that it has all of."""

    timeline: int
    segment_bytes: int
    reached: int
    end: int  # the position where it is consistent


def number_of(segment: str, segment_bytes: int) -> int:
    """Which segment of the log it is, counted from the beginning of all."""
    each = 0x1_0000_0000 // segment_bytes
    return int(segment[8:16], 16) * each + int(segment[16:], 16)


def parse_history(text: str) -> Forks:
    """A timeline's history: the timelines before it, each with where it was left."""
    forks = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].isdigit():
            forks.append((int(words[0]), lsn_of(words[1])))
    return forks


def begin(restart: int, forks: Forks, timeline: int) -> tuple[int, int]:
    """Where a server is to be followed from of which nothing is stored: from where its slot keeps
    WAL, on the timeline of that."""
    return next((each for each, left in forks if restart < left), timeline), restart


def resume(timeline: int, at: int, way: Forks, segment_bytes: int) -> tuple[int, int]:
    """Where a server is to be followed from, by the timeline and position where the stored log
    ends and the server's own way: the timelines that it came along and the one that it is on. A
    standby may be promoted before it got all that was stored of the old server: then the stored log
    goes beyond where that timeline was left, and the next one goes on from the begin of the segment
    in which it was. Shapes: positions in bytes of the whole log."""
    for (each, left), (after, _) in pairwise(way):
        if each == timeline and at >= left:
            timeline, at = after, left - left % segment_bytes
    return timeline, at


def pick_timeline(base: Base, wanted: str, histories: dict[int, Forks]) -> int:
    """The newest timeline that comes from the snapshot's own, or the one that was asked for. Raises
    UsageError for one that does not come from it."""
    coming = [base.timeline] + [t for t, forks in histories.items() if _comes(base, forks)]
    if wanted == "latest":
        return max(coming)
    if wanted == "current":
        return base.timeline
    if not wanted.isdigit() or int(wanted) not in coming:
        known = ", ".join(map(str, sorted(coming)))
        raise UsageError(
            f"timeline {wanted} does not come from the snapshot's",
            hint=f"known here: {known}; of an older snapshot, name its id, there may be others",
        )
    return int(wanted)


def _comes(base: Base, forks: Forks) -> bool:
    """The timeline was left after the snapshot was consistent."""
    return any(timeline == base.timeline and left >= base.end for timeline, left in forks)


def needed(
    base: Base,
    files: dict[str, LogFile],
    timeline: int,
    forks: Forks,
    last_lsn: int | None,
) -> tuple[list[LogFile], StorageError | None]:
    """The segments that replay along a timeline needs after the snapshot, up to the end of the log
    or to `last_lsn`. Where one is missing in the middle they end, and the gap is told: PostgreSQL
    would take it for the end of the log, and silently lose the rest."""
    found = _chosen(files, _stretches(base, timeline, forks), base.segment_bytes)
    last = max(found, default=base.reached)
    if last_lsn is not None:
        _refuse_beyond(last_lsn, _end(base, last, found.get(last)), base)
    goal = last if last_lsn is None else min(last, last_lsn // base.segment_bytes)
    chosen: list[LogFile] = []
    for number in range(base.reached, goal + 1):
        here = found.get(number)
        chosen += [here] if here else []
        is_enough = here and (
            here.whole or (number == goal and _ends(here, number, base, last_lsn))
        )
        if number > base.reached and not is_enough:
            return chosen, _gap(number, here)
    return chosen, None


def _ends(file: LogFile, number: int, base: Base, last_lsn: int | None) -> bool:
    """Whether replay may end in this segment."""
    if last_lsn is None:
        return not file.is_torn
    return number * base.segment_bytes + file.size >= last_lsn


Stretch = tuple[int, int, int]  # a timeline, where it begins, where it was left


def _stretches(base: Base, timeline: int, forks: Forks) -> list[Stretch]:
    """The way from the base along the timelines, oldest first."""
    ends = [*(fork for fork in forks if fork[0] >= base.timeline), (timeline, 1 << 64)]
    begins = [0, *(left for _, left in ends)]
    return [(each, begin, left) for (each, left), begin in zip(ends, begins, strict=False)]


def _chosen(
    files: dict[str, LogFile], way: Iterable[Stretch], segment_bytes: int
) -> dict[int, LogFile]:
    """One file for each segment, by number. Where a timeline was left in a segment, the next one
    has a copy of its begin: that one, if it reaches as far; else the older up to where it was left.
    What an old server wrote behind that is not on the way."""
    found: dict[int, LogFile] = {}
    for timeline, begin, left in way:
        for name, file in files.items():
            if not layout.SEGMENT.fullmatch(name) or int(name[:8], 16) != timeline:
                continue
            number = number_of(name, segment_bytes)
            at = number * segment_bytes
            usable = file.up_to(max(0, left - at))
            if usable.size > max(0, begin - at) or (usable.size and number not in found):
                found[number] = usable
    return found


def going_beyond(files: dict[str, LogFile], forks: Forks, segment_bytes: int) -> list[int]:
    """The timelines whose stored log goes on behind where they were left."""
    ends: dict[int, int] = {}
    for name, file in files.items():
        if layout.SEGMENT.fullmatch(name):
            end = number_of(name, segment_bytes) * segment_bytes + file.size
            ends[int(name[:8], 16)] = max(end, ends.get(int(name[:8], 16), 0))
    return [timeline for timeline, left in forks if ends.get(timeline, 0) > left]


def begun_at_ns(timeline: int, files: dict[str, LogFile]) -> int:
    """When the first piece of a timeline that is still there was stored; 0: there is none."""
    own = (file for name, file in files.items() if name.startswith(f"{timeline:08X}"))
    return min((piece.stored_at_ns for file in own for piece in file.pieces), default=0)


def _gap(number: int, here: LogFile | None) -> StorageError:
    name = f"segment {here.file} is not whole" if here else f"segment number {number:X} is missing"
    return StorageError(
        f"the log has a gap: {name}, though later ones are there",
        hint="another repository of the plan may hold it (--from); or restore up to before the "
        "gap, with --at or --until, or --until immediate for the snapshot alone",
    )


def _end(base: Base, last: int, file: LogFile | None) -> int:
    """Where the log ends; what the snapshot brings is whole."""
    if file is None or last <= base.reached:
        return max((base.reached + 1) * base.segment_bytes, base.end)
    return last * base.segment_bytes + file.size


def _refuse_beyond(lsn: int, end: int, base: Base) -> None:
    if lsn < base.end:
        raise UsageError(
            "the snapshot is newer than that position", hint="name an older snapshot by its id"
        )
    if lsn > end:
        raise UsageError(
            "the log in the repository does not reach that position",
            hint="leave out --until to go as far as it reaches",
        )
