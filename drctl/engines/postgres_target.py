"""Putting a cluster back: its files, then its WAL and how far to replay it; pg_control last.

Without pg_control no server starts there, so a restore that was broken off is never taken for a
cluster. Tablespaces go beside the target: DIR is the data directory, DIR-tablespaces/<oid> theirs.
"""

import json
import os
import pwd
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from msgspec.structs import replace

from drctl.engines import postgres_belonging as belonging
from drctl.engines import postgres_conf as conf
from drctl.engines import postgres_layout as layout
from drctl.engines import postgres_recovery as recovery
from drctl.engines import postgres_seek as seek
from drctl.engines import postgres_spaces as spaces
from drctl.engines.base import Goal, Log, Surroundings, Target, Writing
from drctl.engines.log_read import as_it_is
from drctl.engines.postgres_archive import system_id
from drctl.engines.postgres_client import Settings
from drctl.engines.postgres_delta import DeltaTree
from drctl.engines.postgres_inside import ALLOWING, make_inside
from drctl.engines.postgres_left import left_out
from drctl.engines.postgres_server import major_at, runs_at
from drctl.engines.postgres_wal import Base, number_of
from drctl.engines.tree_extents import write_extents
from drctl.engines.tree_look import reason
from drctl.engines.tree_write import TreeTarget
from drctl.errors import TargetRefused
from drctl.events import Notice
from drctl.logpieces import LogFile
from drctl.model import Entry, Kind, Problem
from drctl.units import show_bytes

_AUTO = b"postgresql.auto.conf"
Tree = TreeTarget | DeltaTree
_HELD = frozenset({layout.CONTROL, _AUTO})
_FETCHERS = 4
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class PostgresTarget:
    """See engines.base.Target."""

    def __init__(self, to: str, private_facts: dict[str, str], around: Surroundings) -> None:
        self._to = os.path.realpath(to)
        self._facts = private_facts
        self._around = around
        self._main: Tree = DeltaTree(self._to) if around.delta else TreeTarget(self._to)
        self._spaces: dict[str, Tree] = {}
        self._owner = _owner(self._to)
        self._held: dict[bytes, tuple[Entry, bytes]] = {}
        self._seen: set[bytes] = set()
        self._own: tuple[LogFile, ...] = ()

    def prepare(self) -> None:
        """Raises TargetRefused. What cannot be reached is told before anything is written."""
        self._plan = self._plan_wal() if self._facts else None
        if self._around.delta:
            self._refuse_delta()
        else:
            self._refuse_spaces()
        self._main.prepare()
        if isinstance(self._main, DeltaTree):
            self._main.remove(layout.CONTROL)

    def _refuse_spaces(self) -> None:
        try:
            spaces.refuse_what_stands_beside(self._to)
        except OSError as error:
            above = self._to + spaces.BESIDE
            raise TargetRefused(f"{above}: {error.strerror}: nothing was restored") from error

    def _refuse_delta(self) -> None:
        """It must be this cluster, and stopped."""
        major_at(self._to)
        if runs_at(self._to):
            raise TargetRefused(f"{self._to}: a server runs there", hint="stop it first")
        known = json.loads(self._facts["cluster"])["system_id"]
        control = os.path.join(self._to, os.fsdecode(layout.CONTROL))
        if os.path.exists(control) and system_id(self._to) != known:
            raise TargetRefused(
                f"{self._to} is another cluster: nothing was restored",
                hint="restore into an empty directory, without --delta",
            )
        spaces.refuse_what_others_use(self._to)
        for number, place in spaces.written_over(self._to).items():
            self._tell("info", f"tablespace {number} is written over, too, in {place}")

    # -- entries ------------------------------------------------------------------------------

    def put_plain(self, entry: Entry) -> Problem | None:
        entry = self._mine(entry)
        if entry.path.startswith(layout.TABLESPACES + b"/"):
            return self._space(entry)
        return self._main.put_plain(entry)

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        entry = self._mine(entry)
        self._seen.add(entry.path)
        if entry.path in _HELD or layout.is_signal(entry.path) or conf.is_conf(entry.path):
            self._held[entry.path] = (entry, bytes(content))
            return None
        target, entry = self._routed(entry)
        return target.put_small(entry, content)

    def open_large(self, entry: Entry) -> Writing:
        self._seen.add(entry.path)
        target, entry = self._routed(self._mine(entry))
        return target.open_large(entry)

    def _mine(self, entry: Entry) -> Entry:
        """A cluster belongs to one user: here, to the one who will run it here."""
        return replace(entry, uid=self._owner[0], gid=self._owner[1]) if self._owner else entry

    def _routed(self, entry: Entry) -> tuple["Tree", Entry]:
        """A tablespace is a tree of its own."""
        if not entry.path.startswith(layout.TABLESPACES + b"/"):
            return self._main, entry
        number, _, below = entry.path[len(layout.TABLESPACES) + 1 :].partition(b"/")
        return self._space_tree(os.fsdecode(number)), replace(entry, path=below or b".")

    def _space(self, entry: Entry) -> Problem | None:
        """A tablespace's directory lies elsewhere; a link leads there."""
        target, below = self._routed(entry)
        if below.path == b".":
            link = os.fsencode(self._space_path(os.fsdecode(os.path.basename(entry.path))))
            self._main.put_plain(replace(entry, kind=int(Kind.SYMLINK), link=link, xattrs=()))
        return target.put_plain(below)

    def _space_path(self, number: str) -> str:
        """Where it is in the cluster that is written over; else beside the target."""
        link = os.path.join(self._to, os.fsdecode(layout.TABLESPACES), number)
        if self._around.delta and os.path.islink(link):
            return os.readlink(link)
        return os.path.join(self._to + spaces.BESIDE, number)

    def _space_tree(self, number: str) -> "Tree":
        if number not in self._spaces:
            path = self._space_path(number)
            above = os.path.dirname(path)
            if not os.path.isdir(above):
                os.makedirs(above, mode=0o700)
                if self._owner and os.geteuid() == 0:
                    os.chown(above, *self._owner)
            # Each version has a directory of its own in a tablespace's.
            delta = self._around.delta
            made: Tree = DeltaTree(path, shared=True) if delta else TreeTarget(path)
            made.prepare()
            self._spaces[number] = made
        return self._spaces[number]

    # -- the end ------------------------------------------------------------------------------

    def finish(self) -> tuple[Problem, ...]:
        """Only some paths were restored: then it is no cluster, and nothing is added."""
        problems: list[Problem | None] = []
        is_cluster = layout.CONTROL in self._held and self._plan is not None
        if is_cluster:
            problems += self._configure()
        else:
            for path in self._held:
                problems += self._put_held(path)
        for tree in self._spaces.values():
            problems += tree.finish()
        self._main.settle()  # also what would mislead a server, as a standby.signal, is gone now
        if is_cluster:
            problems += self._put_held(layout.CONTROL)
        problems += self._main.finish()
        if isinstance(self._main, DeltaTree):
            self._tell_delta()
        return tuple(problem for problem in problems if problem)

    def _tell_delta(self) -> None:
        trees = [t for t in (self._main, *self._spaces.values()) if isinstance(t, DeltaTree)]
        written = show_bytes(sum(tree.written_bytes for tree in trees))
        same = show_bytes(sum(tree.same_bytes for tree in trees))
        text = f"{written} were written, {same} were as they must be"
        self._around.report.emit(Notice("info", text))

    def _put_held(self, path: bytes) -> list[Problem | None]:
        entry, content = self._held[path]
        return [self._main.put_small(entry, content)]

    def _configure(self) -> list[Problem | None]:
        """WAL, then the files that say what to do with it."""
        self._leave_another_history()
        goal, timeline, files = self._plan or (Goal(), "latest", [])
        problems = [*self._put_wal(files), *self._put_confs()]
        allowing = self._lead_inside()
        goal = self._reachable(goal)
        before = self._held.get(_AUTO, (None, b""))[1].decode("utf-8", "surrogateescape")
        auto = recovery.auto_conf(before, goal, timeline) + allowing
        made = {_AUTO: auto, b"recovery.signal": ""}
        if b"postgresql.conf" not in self._seen:
            made[b"postgresql.conf"] = recovery.main_conf(self._facts.get("settings", ""))
        if b"pg_hba.conf" not in self._seen:
            made[b"pg_hba.conf"] = recovery.access_conf(self._facts.get("host_based_access", ""))
        if b"pg_ident.conf" not in self._seen:
            made[b"pg_ident.conf"] = ""
        return problems + [self._put_text(path, text) for path, text in made.items()]

    def _put_confs(self) -> Iterator[Problem | None]:
        """The cluster's own, whose server must stay here. Told is what else they name."""
        held = [one for p, one in self._held.items() if conf.is_conf(p) and p != _AUTO]
        for entry, content in held:
            data, away = conf.at_home(content, self._to)
            name = os.fsdecode(entry.path)
            for place in away:
                text = f"{name} says data_directory = '{place}': that line is a comment here now"
                self._tell("info", f"{text}, since a server started here would run over there")
            if outside := ", ".join(conf.elsewhere(data, self._to)):
                text = f"{name} names what is outside of {self._to}: {outside}"
                self._tell("info", f"{text}; see to that before a server starts beside another")
            yield self._main.put_small(replace(entry, size=len(data)), data)

    def _put_text(self, path: bytes, text: str) -> Problem | None:
        data = text.encode("utf-8", "surrogateescape")
        return self._main.put_small(self._made(path, len(data)), data)

    def _made(self, path: bytes, size: int) -> Entry:
        """A file that no snapshot brought."""
        now_ns = self._around.clock.now_ns()
        control = self._held[layout.CONTROL][0]
        return Entry(path, int(Kind.FILE), 0o600, control.uid, control.gid, now_ns, size)

    # -- WAL ----------------------------------------------------------------------------------

    def _plan_wal(self) -> tuple[Goal, str, list[LogFile]]:
        """The goal, the timeline, and the files of the log that lead there. Raises UsageError,
        StorageError (a gap)."""
        goal = self._around.goal
        if goal.kind == "immediate":
            return goal, "current", belonging.histories(self._around)
        found = seek.way(self._facts, goal, self._around.log)
        seek.refuse_missing(found, self._facts, self._around)
        if found.doubt:
            self._tell("warning", found.doubt)
        self._own = found.own
        return goal, found.target_timeline, [*found.files, *found.histories]

    def _leave_another_history(self) -> None:
        """Of a snapshot that names a log as its own, and holds other WAL, nothing more comes back.
        Raises TargetRefused where an instant is asked for."""
        if (log := self._around.log) is None or self._plan is None:
            return
        folder = os.path.join(self._to, os.fsdecode(layout.WAL))
        what = belonging.another(log, self._own, recovery.base_of(self._facts), folder)
        if what and self._around.goal != Goal():
            raise belonging.refused(what)
        if what:
            self._tell("warning", f"{what}; so nothing of it is replayed: the snapshot comes alone")
            histories = [one for one in self._plan[2] if layout.HISTORY.fullmatch(one.file)]
            self._plan = Goal(), "current", histories

    def _put_wal(self, files: list[LogFile]) -> list[Problem | None]:
        """What the snapshot brought itself is there already. Of a standby it may have brought the
        begin of a segment: the log's lies over it."""
        log, base = self._around.log, recovery.base_of(self._facts)
        wanted = [f for f in files if not self._is_brought(f.file, base)]

        def one(file: LogFile) -> Problem | None:
            assert log  # noqa: S101 - the files come from it
            return as_it_is(log, file, lambda now: self._put_logged(log, now, base))[1]

        with ThreadPoolExecutor(_FETCHERS, "drctl-wal") as pool:
            return list(pool.map(one, wanted))

    def _is_brought(self, file: str, base: Base) -> bool:
        """Whether all of a file of the log came with the snapshot."""
        if b"pg_wal/" + file.encode() not in self._seen:
            return False
        is_segment = layout.SEGMENT.fullmatch(file)
        return not is_segment or number_of(file, base.segment_bytes) <= base.reached

    def _put_logged(self, log: Log, file: LogFile, base: Base) -> Problem | None:
        """A piece at a time: a segment may have 1 GiB."""
        path = b"pg_wal/" + file.file.encode()
        if path in self._seen:
            self._lay(path, recovery.stored(log, file))
            return None
        is_segment = layout.SEGMENT.fullmatch(file.file)
        size = base.segment_bytes if is_segment else file.size
        writing = self._main.open_large(self._made(path, size))
        try:
            for part in recovery.filled(log, file, base.segment_bytes):
                writing.write(part)
        except BaseException:
            writing.abort()
            raise
        return writing.close()

    def _lay(self, path: bytes, parts: Iterable[recovery.Buffer]) -> None:
        """Over the begin of a file that is there: what follows may be newer than the log."""
        at = 0
        try:
            descriptor = os.open(os.path.join(os.fsencode(self._to), path), _WRITE)
            try:
                for part in parts:
                    write_extents(descriptor, [(at, len(part))], memoryview(part))
                    at += len(part)
            finally:
                os.close(descriptor)
        except OSError as error:
            shown = os.path.join(self._to, os.fsdecode(path))
            raise TargetRefused(f"{shown}: {reason(error)}: it was not restored") from error

    def _segments(self) -> set[str]:
        """The names of all that will be replayed: the log's, and what the snapshot brought."""
        named = [f.file for f in self._plan[2]] if self._plan else []
        named += [os.fsdecode(p[7:]) for p in self._seen if p.startswith(b"pg_wal/0")]
        return {name for name in named if layout.SEGMENT.fullmatch(name)}

    def _lead_inside(self) -> str:
        """Replay must not write where the saved server has its data. Gives what configuration that
        needs. See postgres_inside."""
        segment_bytes = recovery.base_of(self._facts).segment_bytes
        folder = os.path.join(self._to, os.fsdecode(layout.WAL))
        try:
            made = make_inside(folder, self._segments(), segment_bytes)
        except OSError as error:
            raise TargetRefused(f"{folder}: {reason(error)}: it was not restored") from error
        for each in made:
            if str(each.number) in self._spaces:  # the snapshot brought it, to where a link leads
                continue
            inside = os.path.join(self._to, os.fsdecode(layout.TABLESPACES), str(each.number))
            self._tell(
                "warning",
                f"the log makes a tablespace, at {each.place} on the source: here it is made in "
                f"{inside}, so have room for it there",
            )
        return ALLOWING if made else ""

    def _reachable(self, goal: Goal) -> Goal:
        """A time after the last commit means all that there is. How far that goes is told."""
        if goal.kind not in {"time", "latest"} or self._plan is None:
            return goal
        way = [file.file for file in self._plan[2]]
        segments = recovery.replayed(self._segments().difference(way), way)
        each = recovery.base_of(self._facts).segment_bytes
        try:
            newest = recovery.newest_commit(self._to, segments, major_at(self._to), each)
        except TargetRefused as error:
            self._tell("warning", f"{error.what}: so it is not known how far the log reaches")
            return goal
        if goal.kind == "time" and recovery.is_before(int(goal.value), newest):
            self._tell_left_out(int(goal.value), segments, self._plan[2])
            return goal
        if goal.kind == "time":
            text = "nothing was committed after that time in the log: all of it will be replayed"
            self._tell("info", text)
        reach = f"its newest commit is of {newest}+00:00" if newest else "it holds no commit"
        self._tell("info", f"the log is replayed when the server starts: {reach}")
        return Goal(timeline=goal.timeline)

    def _tell_left_out(self, at_ns: int, segments: list[str], files: list[LogFile]) -> None:
        """See postgres_left."""
        base, major = recovery.base_of(self._facts), major_at(self._to)
        try:
            found = left_out(self._to, segments, base, major, at_ns, files)
            told = found.words if found else ""
        except TargetRefused as error:
            told = f"whether a clock was ahead, and more is left out, is not known: {error.what}"
        if told:
            self._tell("warning", told)

    def _tell(self, level: Literal["info", "warning"], text: str) -> None:
        self._around.report.emit(Notice(level, text))


def _owner(to: str) -> tuple[int, int] | None:
    """Who the restored cluster belongs to. None: as it was on the source."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    if os.path.isdir(to) and os.stat(to).st_uid != 0:
        found = os.stat(to)
        return found.st_uid, found.st_gid
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        return None
    return user.pw_uid, user.pw_gid


def target(
    _: Settings | None, to: str, private_facts: dict[str, str], around: Surroundings
) -> Target:
    """Restores a cluster into the data directory `to`; or the files of a dump."""
    if private_facts.get("form") == "dump":
        return TreeTarget(to)
    return PostgresTarget(to, private_facts, around)
