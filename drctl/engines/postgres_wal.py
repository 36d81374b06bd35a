"""Which WAL a restore needs of what is in the repository, and whether it is all there.

Pure reckoning over names: a segment's name is its timeline, then its number; a history file tells
where each timeline left its parent.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

from drctl.engines import postgres_layout as layout
from drctl.engines.postgres_client import lsn_of
from drctl.errors import StorageError, UsageError
from drctl.logpieces import LogFile

Forks = list[tuple[int, int]]  # (a timeline, where it was left), oldest first


@dataclass(frozen=True, slots=True)
class Base:
    """What a snapshot brings: `reached` is the number of the last segment in it."""

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
            f"timeline {wanted} does not come from the snapshot's", hint=f"known here: {known}"
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
    found = _numbered(base, files, timeline, forks)
    last = max(found, default=base.reached)
    torn = last if any(file.is_torn for file in found.get(last, {}).values()) else None
    if last_lsn is not None:
        _refuse_beyond(last_lsn, _end(base, last, found.get(last, {}).values()), base)
        last = min(last, last_lsn // base.segment_bytes)
    chosen: list[LogFile] = []
    for number in range(base.reached, last + 1):
        here = found.get(number, {})
        chosen += list(here.values())
        ends_here = number == last and number != torn
        if number > base.reached and (gap := _gap(number, here.values(), may_end=ends_here)):
            return chosen, gap
    return chosen, None


def _numbered(
    base: Base, files: dict[str, LogFile], timeline: int, forks: Forks
) -> dict[int, dict[int, LogFile]]:
    """The segments on the way, by number and timeline. What an old server wrote after its timeline
    was left is not on it."""
    found: dict[int, dict[int, LogFile]] = {}
    for name, file in files.items():
        if layout.SEGMENT.fullmatch(name) and file.size:
            number, of = number_of(name, base.segment_bytes), int(name[:8], 16)
            if of in _timelines_at(number, base, timeline, forks):
                found.setdefault(number, {})[of] = file
    return found


def _timelines_at(number: int, base: Base, timeline: int, forks: Forks) -> set[int]:
    """The timelines that have a segment of this number as a part of the way. Where a timeline was
    left in a segment, the next one has it, too, and either may do."""
    way = [*(f for f in forks if f[0] >= base.timeline), (timeline, (1 << 64) - 1)]
    found, begin = set(), 0
    for each, left in way:
        if begin // base.segment_bytes <= number <= left // base.segment_bytes:
            found.add(each)
        begin = left
    return found


def _gap(number: int, usable: Collection[LogFile], *, may_end: bool) -> StorageError | None:
    """None: the segment is as it must be."""
    if any(file.whole for file in usable) or (usable and may_end):
        return None
    names = ", ".join(file.file for file in usable)
    what = f"segment {names} is not whole" if names else f"segment number {number:X} is missing"
    return StorageError(
        f"the log has a gap: {what}, though later ones are there",
        hint="another repository of the plan may hold it (--from); or restore up to before the "
        "gap, with --at or --until, or --until immediate for the snapshot alone",
    )


def _end(base: Base, last: int, files: Iterable[LogFile]) -> int:
    """Where the log ends; what the snapshot brings is whole."""
    if last <= base.reached:
        return (base.reached + 1) * base.segment_bytes
    return last * base.segment_bytes + max(file.size for file in files)


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
