"""Which WAL leads to a goal, and whether it holds the goal at all.

PostgreSQL ends with an error where it does not meet its target, long after the restore is done. So
a name and a transaction are looked for in the log before anything is written; so is a commit after
a time where the log has a gap, since only what lies before the gap can be replayed.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from msgspec import Struct

from drctl.engines import postgres_layout as layout
from drctl.engines import postgres_recovery as recovery
from drctl.engines import postgres_wal as wal
from drctl.engines.base import Goal, Log, Surroundings
from drctl.engines.log_read import files_of
from drctl.engines.postgres_client import lsn_of
from drctl.engines.postgres_server import programs
from drctl.errors import StorageError, TargetRefused, UsageError
from drctl.events import Notice, Phase
from drctl.logpieces import LogFile
from drctl.private import passing_directory

_AT_ONCE = 4  # segments in the private directory
_RECORD = re.compile(r"tx: +(?P<xid>\d+), lsn: (?P<lsn>\S+), .*?desc: (?P<what>\w+) ?(?P<text>.*)")
_ENDINGS = frozenset({"COMMIT", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED"})
_PREPARED = re.compile(r"(\d+): ")
_TIME = re.compile(r"(\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d\S*) UTC")
_SOUGHT = ("name", "transaction")
Facts = Mapping[str, str]  # a snapshot's private ones
_IsPoint = Callable[[re.Match[str]], bool]


class Way(Struct, frozen=True):
    """`files` lead from the base to the end of the log, or to the gap in it."""

    base: wal.Base
    timeline: int
    files: list[LogFile]
    histories: list[LogFile]
    gap: StorageError | None
    doubt: str = ""
    own: tuple[LogFile, ...] = ()  # what is stored of the base's own segments, of both ends

    @property
    def target_timeline(self) -> str:
        """As PostgreSQL is to be told."""
        return "current" if self.timeline == self.base.timeline else str(self.timeline)


def way(facts: Facts, goal: Goal, log: Log | None) -> Way:
    """Raises UsageError, StorageError for a gap that is in the way."""
    if goal.kind == "gtid":
        raise UsageError("PostgreSQL knows no GTID", hint="give lsn:, transaction: or name:")
    base = recovery.base_of(facts)
    files = files_of(log) if log else {}
    kept = [file for name, file in files.items() if layout.HISTORY.fullmatch(name)]
    histories = {
        int(file.file[:8], 16): wal.parse_history(_text(log, file, base.segment_bytes))
        for file in kept
        if log and file.whole
    }
    timeline = wal.pick_timeline(base, goal.timeline, histories)
    last = _lsn(goal.value) if goal.kind == "lsn" else None
    chosen, gap = wal.needed(base, files, timeline, histories.get(timeline, []), last)
    if gap and goal.kind in {"latest", "lsn"}:
        raise gap
    doubt = _doubt(goal, timeline, histories, files, base)
    return Way(base, timeline, chosen, kept, gap, doubt, _own(facts, base, files))


def _own(facts: Facts, base: wal.Base, files: Mapping[str, LogFile]) -> tuple[LogFile, ...]:
    each, of_timeline = base.segment_bytes, f"{base.timeline:08X}"
    first, last = (_lsn(facts.get(key, "0/0")) for key in ("wal_start", "wal_end"))
    own = sorted(
        name
        for name in files
        if layout.SEGMENT.fullmatch(name)
        and name.startswith(of_timeline)
        and first // each <= wal.number_of(name, each) <= (last - 1) // each
    )
    return tuple(files[name] for name in dict.fromkeys((*own[:1], *own[-1:])))


def _doubt(
    goal: Goal,
    timeline: int,
    histories: Mapping[int, wal.Forks],
    files: dict[str, LogFile],
    base: wal.Base,
) -> str:
    """A time from before the timeline was stored may have been another one's: of the server as it
    was before it was set back, or before a standby took over that lacked its newest commits."""
    if goal.kind != "time" or goal.timeline != "latest":
        return ""
    forks = [fork for fork in histories.get(timeline, []) if fork[0] >= base.timeline]
    older = wal.going_beyond(files, forks, base.segment_bytes)
    if not older or int(goal.value) >= wal.begun_at_ns(timeline, files):
        return ""
    return (
        f"timeline {timeline} is followed, which was stored only after that time; what the server "
        f"held then may be on timeline {older[-1]}: 'restore --timeline {older[-1]}' brings that"
    )


def _text(log: Log, file: LogFile, segment_bytes: int) -> str:
    return recovery.assemble(log, file, segment_bytes).decode("ascii", "replace")


def _lsn(text: str) -> int:
    try:
        return lsn_of(text)
    except ValueError as error:
        raise UsageError(f"--until: {error}") from error


# -- looking for the goal -------------------------------------------------------------------------


def refuse_missing(found: Way, facts: Facts, around: Surroundings) -> None:
    """Raises UsageError or StorageError when the way does not hold the goal, as far as that is to
    be known before it is replayed."""
    goal = around.goal
    if goal.kind not in _SOUGHT and not (goal.kind == "time" and found.gap):
        return
    if _holds(found, facts, around):
        return
    if found.gap:
        raise found.gap
    raise UsageError(
        f"the log behind the snapshot does not hold {goal.kind} {goal.value}",
        hint="name the asset, without --at: then it begins with the snapshot that leads there; "
        "leave out --until to go as far as the log reaches",
    )


def choose(bases: Iterable[Facts], around: Surroundings) -> int | None:
    """Which of the snapshots, newest first, the goal comes after; None: it is not to be sought, or
    no one leads there. Each segment is looked at once."""
    ways = _ways(bases, around)
    if around.goal.kind not in _SOUGHT:
        is_placed = around.goal.kind == "lsn" or around.goal.timeline.isdigit()
        return next((number for number, _, _ in ways), None) if is_placed else None
    seen: set[str] = set()
    for number, facts, found in ways:
        new = [file for file in found.files if file.file not in seen]
        # A record may go on in the next segment, which was looked at from its own beginning.
        after = [file for file in found.files if file.file in seen][:1]
        bounded = Way(found.base, found.timeline, new + after, [], found.gap)
        if new and _holds(bounded, facts, around):
            return number
        seen |= {file.file for file in new if _number(file, found) > found.base.reached}
    return None


def _ways(bases: Iterable[Facts], around: Surroundings) -> Iterator[tuple[int, Facts, Way]]:
    """From those that the position and the timeline come after: the last ones may be newer, or of
    another timeline, which left it."""
    goal = around.goal
    if goal.kind not in {*_SOUGHT, "lsn"}:
        goal = Goal("immediate", timeline=goal.timeline)
    for number, facts in enumerate(bases):
        if facts.get("form") == "dump":
            continue
        try:
            found = way(facts, goal, around.log)
        except UsageError:
            continue  # the goal does not come after this one
        yield number, facts, found


def _number(file: LogFile, found: Way) -> int:
    return wal.number_of(file.file, found.base.segment_bytes)


def _holds(found: Way, facts: Facts, around: Surroundings) -> bool:
    """Where nobody can tell, PostgreSQL itself will: that is a warning."""
    is_point = _point(around.goal, found.base.end)
    around.report.emit(Phase(f"looking for {around.goal.kind} in the log"))
    try:
        reader = os.path.join(programs(recovery.major_of(facts)), "pg_waldump")
        return any(map(is_point, _records(found, around, reader)))
    except TargetRefused as error:
        what = f"{error.what}: so it is not known whether the log holds the point"
        around.report.emit(Notice("warning", what))
        return True


def _point(goal: Goal, begin: int) -> _IsPoint:
    """What tells the record at which PostgreSQL stops. It stops nowhere before the base's end."""
    if goal.kind == "name":
        return lambda r: (
            r["what"] == "RESTORE_POINT" and r["text"] == goal.value and _is_behind(r, begin)
        )
    if goal.kind == "time":
        until = recovery.show_time(int(goal.value)).removesuffix("+00")
        return lambda r: r["what"] in _ENDINGS and _time(r) > until
    if not goal.value.isdigit():
        raise UsageError(f"--until: '{goal.value}' is no transaction's number")
    wanted = int(goal.value) % 2**32  # the log has no epoch
    return lambda r: r["what"] in _ENDINGS and _xid(r) == wanted and _is_behind(r, begin)


def _is_behind(record: re.Match[str], begin: int) -> bool:
    return lsn_of(record["lsn"]) >= begin


def _xid(record: re.Match[str]) -> int:
    """A prepared transaction is ended by another one."""
    prepared = _PREPARED.match(record["text"])
    return int(prepared[1] if prepared else record["xid"])


def _time(record: re.Match[str]) -> str:
    found = _TIME.search(record["text"])
    return found[1] if found else ""


def _records(found: Way, around: Surroundings, reader: str) -> Iterator[re.Match[str]]:
    """The records of interest, a few segments at a time. Times are looked for from the end."""
    kind = "XLOG" if around.goal.kind == "name" else "Transaction"
    windows = list(_windows(found.files))
    for window in reversed(windows) if around.goal.kind == "time" else windows:
        with passing_directory() as folder:
            for file in window:
                _put(folder, file, found.base.segment_bytes, around.log)
            words = [os.path.join(folder, window[0].file), window[-1].file]
            said = recovery.dumped(reader, kind, words)
            yield from filter(None, map(_RECORD.search, said.splitlines()))


def _windows(files: list[LogFile]) -> Iterator[list[LogFile]]:
    """Of one timeline each, and each begins with the last segment of the one before: a record may
    go on in the next segment."""
    segments = sorted((f for f in files if layout.SEGMENT.fullmatch(f.file)), key=lambda f: f.file)
    for _, group in groupby(segments, key=lambda file: file.file[:8]):
        of_timeline = list(group)
        for at in range(0, max(1, len(of_timeline) - 1), _AT_ONCE - 1):
            yield of_timeline[at : at + _AT_ONCE]


def _put(folder: str, file: LogFile, segment_bytes: int, log: Log | None) -> None:
    assert log  # noqa: S101 - the files come from it
    with open(os.path.join(folder, file.file), "wb") as into:
        recovery.put_as_it_is(log, file, segment_bytes, into)
