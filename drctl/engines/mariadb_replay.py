"""Going on from a base along the binlog: which files, from where to where; then all of it
goes into a private server (mariadb_pour).
"""

import json
import os
from collections.abc import Iterable

from msgspec import Struct

from drctl.engines import mariadb_binlog as binlog
from drctl.engines.base import Goal, Log, Surroundings
from drctl.engines.log_read import as_it_is, files_of
from drctl.engines.mariadb_alike import Alike
from drctl.engines.mariadb_beside import beside
from drctl.engines.mariadb_binlog import Group, State
from drctl.engines.mariadb_left import left_out
from drctl.engines.mariadb_pour import Lacking, Poured, Way, pour
from drctl.engines.mariadb_series import HEAD_BYTES, head_of, is_more, mapped
from drctl.errors import IntegrityError, StorageError, TargetRefused, UsageError
from drctl.events import Notice, Phase
from drctl.logpieces import LogFile
from drctl.private import passing_directory
from drctl.units import count, show_instant


class Position(Struct, frozen=True):
    """Where the base stands in the binlog."""

    file: str
    at: int
    state: State
    head: str = ""  # see mariadb_series.head_of; empty in a snapshot of an older drctl

    @classmethod
    def of(cls, facts: dict[str, str]) -> "Position | None":
        """From a snapshot's private facts; None where the server kept no binlog."""
        found = json.loads(facts.get("binlog", "{}"))
        if not found:
            return None
        gtid = found.get("gtid", "")
        state, head = binlog.parse_state(gtid), facts.get("binlog_head", "")
        return cls(found["file"], int(found["position"]), state, head)

    def is_past(self, domain: int, sequence: int) -> bool:
        return sequence <= self.state.get(domain, (0, 0))[1]


def replay(datadir: str, position: Position, log: Log, around: Surroundings, alike: Alike) -> None:
    """Replay up to `around.goal` on a restored and prepared data directory. Raises UsageError for a
    goal that is not on the way, StorageError for a gap, TargetRefused, IntegrityError."""
    with beside(datadir) as folder:
        around.report.emit(Phase("reading the binlog"))
        way = find_way(position, log, around.goal, folder)
        if way.transactions:
            around.report.emit(
                Phase(f"replaying {count(way.transactions, 'transaction', 'transactions')}")
            )
            poured = pour(datadir, way, alike, around.report)
            _warn_of_lacking(poured.lacking, around)
            _warn_of_others(way, poured, around)
        _tell(way, around)
        _warn_of_left_out(way, log, around, folder)


def _warn_of_lacking(lacking: Iterable[Lacking], around: Surroundings) -> None:
    for one in lacking:
        what = (
            f"{one.gtid} ended half way at the source, with error {one.code}, and came through "
            "here: what it changed may differ from the source; look at it"
        )
        around.report.emit(Notice("warning", what))


def _warn_of_others(way: Way, poured: Poured, around: Surroundings) -> None:
    """See mariadb_invoker."""
    for _, group in way.apart:
        if group.by and group.gtid in poured.by_others:
            what = (
                f"{group.gtid} was done at the source by {group.by.shown}, who may not do it here "
                f"(or is not there); it was done by drctl: {group.by.shown_text}; look at what it "
                "gives to CURRENT_USER, or at who administrates the role"
            )
            around.report.emit(Notice("warning", what))
    for name in poured.orphans:
        what = f"{name} is defined by an account that is gone: set its definer"
        around.report.emit(Notice("warning", what))


def _tell(way: Way, around: Surroundings) -> None:
    if way.last:
        at = show_instant(way.last.second * 10**9)
        text = f"the binlog is replayed up to {way.last.gtid}, committed at {at}"
    else:
        text = "the binlog holds nothing to be replayed after the snapshot"
    around.report.emit(Notice("info", text))
    if way.is_short:
        what = "the stored log ends before that time: what was committed later is not in it"
        around.report.emit(Notice("warning", what))


def _warn_of_left_out(way: Way, log: Log, around: Surroundings, folder: str) -> None:
    """See mariadb_left."""
    if around.goal.kind != "time" or way.is_short or not way.files:
        return

    def fetch(file: LogFile) -> str:
        return as_it_is(log, file, lambda now: _fetch(now, log, folder))[1]

    def begun(file: LogFile) -> int:
        head = as_it_is(log, file, lambda now: _first_bytes(now, log, HEAD_BYTES))[1]
        return binlog.begun_second(head)

    until_second = _until_second(around.goal)
    try:
        found = left_out(way.files[-1], way.end, until_second, files_of(log), fetch, begun)
        told = found.words if found else ""
    except (StorageError, IntegrityError) as error:
        told = f"whether a clock was ahead, and more is left out, is not known: {error.what}"
    if told:
        around.report.emit(Notice("warning", told))


def _until_second(goal: Goal) -> int:
    """The binlog counts whole seconds: never later than what was asked for."""
    return int(goal.value) // 10**9


# -- the way --------------------------------------------------------------------------------------


def refuse_missing(position: Position, log: Log, goal: Goal) -> None:
    """What is not to be reached is told before anything is written, where names let it fear so.
    Raises as `replay` does."""
    if goal.kind == "immediate":
        return
    _refuse_another_series(position, log)
    if goal.kind not in {"latest", "time"} or _has_gap(position, files_of(log)):
        with passing_directory() as folder:
            find_way(position, log, goal, folder, keep=False)


def _refuse_another_series(position: Position, log: Log) -> None:
    """The beginning of the file in which the base stands is looked at alone: it is little."""
    file = files_of(log).get(position.file)
    if position.head and file and file.size >= position.at:
        _, data = as_it_is(log, file, lambda now: _first_bytes(now, log, position.at))
        if head_of(data, position.at) != position.head:
            raise _another_series(position)


def _first_bytes(file: LogFile, log: Log, wanted: int) -> bytes:
    data = bytearray()
    for piece in file.pieces:
        if len(data) >= min(wanted, HEAD_BYTES):
            break
        data[piece.offset :] = log.read(piece)
    return bytes(data)


def _another_series(position: Position) -> StorageError:
    return StorageError(
        f"{position.file} in the repository is not the one that the snapshot was taken in: the "
        "server's binlogs were begun anew (RESET MASTER, or a restored server)",
        hint="--until immediate restores the snapshot alone; take a new base",
    )


def _has_gap(position: Position, stored: dict[str, LogFile]) -> bool:
    name = position.file
    while (file := stored.get(name)) and file.whole:
        name = binlog.next_name(name)
    return is_more(stored, name) or bool(file and file.is_torn)


def find_way(position: Position, log: Log, goal: Goal, folder: str, *, keep: bool = True) -> Way:
    """Fetch file after file until the goal is met, or the log ends. Raises UsageError,
    StorageError."""
    stored = files_of(log)
    wanted = _Wanted(goal, position)
    way = Way([], position.at, position.at)
    state: State = {}
    name, begin = position.file, position.at
    while not wanted.met:
        file = stored.get(name)
        if file is None or file.size < begin:
            _refuse_gap(name, file, stored, way)
            break
        file, path = as_it_is(log, file, lambda now: _fetch(now, log, folder))
        if not way.files:
            _check_where_it_begins(path, position)
        _follow(path, begin, state, way, wanted)
        if not keep:
            os.unlink(path)
        if not file.whole and not wanted.met:
            _refuse_gap(name, file, stored, way)
            break
        name, begin = binlog.next_name(name), 4
    wanted.conclude(way)
    return way


def _check_where_it_begins(path: str, position: Position) -> None:
    """Nothing is replayed but from the very file in which the base stands. Snapshots of an older
    drctl tell its transactions alone. Raises StorageError, IntegrityError."""
    with mapped(path) as view:
        if position.head:
            if head_of(bytes(view[:HEAD_BYTES]), position.at) != position.head:
                raise _another_series(position)
            return
        state = binlog.state_before(view)
        for group in binlog.groups(view[: position.at]):
            state[group.domain] = (group.server, group.sequence)
    both = state.keys() & position.state.keys()
    if any(state[domain][1] != position.state[domain][1] for domain in both):
        raise _another_series(position)


class _Wanted:
    """The goal: which transaction is the first that must not be replayed."""

    def __init__(self, goal: Goal, position: Position) -> None:
        self.met = goal.kind == "immediate"
        self._goal = goal
        self._until_second: int | None = None
        self._last: tuple[int, int] | None = None
        if goal.kind == "time":
            self._until_second = _until_second(goal)
        elif goal.kind == "gtid":
            self._last = _one_gtid(goal.value, position)
        elif goal.kind not in ("latest", "immediate"):
            raise UsageError(
                f"MariaDB's log has no {goal.kind} to stop at",
                hint="give a time with --at, or --until gtid:0-1-100",
            )

    def takes(self, group: Group) -> bool:
        """Whether this transaction is still to be replayed."""
        if self._until_second is not None and group.second >= self._until_second:
            self.met = True
        return not self.met

    def took(self, group: Group) -> None:
        if self._last == (group.domain, group.sequence):
            self.met = True

    def conclude(self, way: Way) -> None:
        """A point that was asked for must have been found; a server that was idle until a time
        looks like a log that ends before it."""
        way.is_short = self._until_second is not None and not self.met
        if self._last and not self.met:
            reached = way.last.gtid if way.last else "the snapshot"
            raise UsageError(
                f"the log in the repository does not hold {self._goal.value}: it reaches {reached}",
                hint="is 'drctl stream' running? Leave out --until to go as far as it reaches",
            )


def choose(bases: Iterable[dict[str, str]], around: Surroundings) -> int | None:
    """See engines.base.Engine: the newest that is not past the transaction yet."""
    if around.goal.kind != "gtid":
        return None
    domain, sequence = _parsed(around.goal.value)
    for number, facts in enumerate(bases):
        position = Position.of(facts)
        if position and not position.is_past(domain, sequence):
            return number
    return None


def _parsed(text: str) -> tuple[int, int]:
    try:
        wanted = binlog.parse_state(text)
        ((domain, (_, sequence)),) = wanted.items()
    except ValueError as error:
        raise UsageError(f"--until gtid: '{text}' is not one GTID, such as 0-1-100") from error
    return domain, sequence


def _one_gtid(text: str, position: Position) -> tuple[int, int]:
    domain, sequence = _parsed(text)
    if position.is_past(domain, sequence):
        raise UsageError(
            f"the snapshot is at {domain}-x-{position.state[domain][1]} already, past {text}",
            hint="name an older snapshot by its id",
        )
    return domain, sequence


def _follow(path: str, begin: int, state: State, way: Way, wanted: _Wanted) -> None:
    """The transactions of one file that are on the way. The first file alone knows all that was
    written before the base: the base names what this server would ask another one for."""
    with mapped(path) as view:
        try:
            if way.files:
                _refuse_another(path, binlog.state_before(view), state)
            else:
                state |= binlog.state_before(view)
            way.files.append(path)
            way.end = begin
            for group in binlog.groups(view):
                if group.begin < begin:
                    state[group.domain] = (group.server, group.sequence)
                    continue
                if not wanted.takes(group):
                    return
                way.end, way.last = group.end, group
                way.transactions += 1
                way.apart += [(len(way.files) - 1, group)] if group.errors or group.by else []
                state[group.domain] = (group.server, group.sequence)
                wanted.took(group)
                if wanted.met:
                    return
        except IntegrityError as error:
            raise IntegrityError(f"{os.path.basename(path)} {error.what}") from error


def _refuse_another(path: str, before: State, state: State) -> None:
    """A file continues the one before it when it was begun where that one ended."""
    ours = {domain: sequence for domain, (_, sequence) in state.items()}
    theirs = {domain: sequence for domain, (_, sequence) in before.items()}
    if ours != theirs:
        raise StorageError(
            f"{os.path.basename(path)} in the repository does not continue the binlog before it: "
            f"it begins at {theirs}, and the one before ended at {ours}",
            hint="the server's binlogs were begun anew (RESET MASTER, or a restored server): take "
            "a new base; restore to before that with --at",
        )


def _refuse_gap(name: str, file: LogFile | None, stored: dict[str, LogFile], way: Way) -> None:
    """The log may end here; but not when there is more behind."""
    if not is_more(stored, name) and not (file is not None and file.is_torn):
        return  # where nothing is on the way, nothing was stored since the base was taken
    what = f"{name} is there up to byte {file.size} alone" if file else f"{name} is missing"
    up_to = f"up to --until gtid:{way.last.gtid}" if way.last else "to --until immediate alone"
    raise StorageError(
        f"the log has a gap: {what}, though more is there behind it",
        hint=f"it can be restored {up_to}, or to a time before that (--at); another repository of "
        "the plan may hold what is missing (--from); take a new base",
    )


def _fetch(file: LogFile, log: Log, folder: str) -> str:
    """A file of the log, put together."""
    path = os.path.join(folder, file.file)
    try:
        with open(path, "wb") as into:
            for piece in file.pieces:
                into.seek(piece.offset)
                into.write(log.read(piece))
    except OSError as error:
        raise TargetRefused(
            f"{path}: {error.strerror}", hint="the binlogs need room beside the target"
        ) from error
    return path
