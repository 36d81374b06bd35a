"""Putting a base back: the files, then mariadb-backup makes them consistent, then the binlogs are
replayed on a private server, up to where the goal says. It always begins at the base, in an empty
directory, so nothing is ever replayed twice.
"""

import os
import pwd

from msgspec.structs import replace

from drctl.engines.base import Surroundings, Writing
from drctl.engines.child import exit_words, running
from drctl.engines.mariadb_alike import Alike
from drctl.engines.mariadb_beside import clear
from drctl.engines.mariadb_client import program, program_version, series
from drctl.engines.mariadb_elsewhere import bring_home, take_out
from drctl.engines.mariadb_looked import BACKUP, PACKAGE
from drctl.engines.mariadb_replay import Position, refuse_missing, replay
from drctl.engines.mariadb_server import give_all
from drctl.engines.tree_look import reason
from drctl.engines.tree_write import TreeTarget
from drctl.errors import IntegrityError, TargetRefused
from drctl.events import Notice, Phase
from drctl.model import Entry, Problem

_CHECKPOINTS = (b"xtrabackup_checkpoints", b"mariadb_backup_checkpoints")


class BaseTarget:
    """Restores a base into a data directory; see engines.base.Target."""

    def __init__(self, to: str, facts: dict[str, str], around: Surroundings) -> None:
        self._to = os.path.realpath(to)
        self._facts = facts
        self._around = around
        self._tree = TreeTarget(to)
        self._owner = _owner(facts.get("owner", ""))
        self._is_whole = False

    def prepare(self) -> None:
        clear(self._to)
        self._tool()
        if (log := self._around.log) and (position := Position.of(self._facts)):
            refuse_missing(position, log, self._around.goal)
        self._tree.prepare()

    def _tool(self) -> str:
        """What makes the files consistent must be of the series that copied them."""
        found = program(*BACKUP, package=PACKAGE, error=TargetRefused)
        copied, version = self._facts.get("mariadb", ""), program_version(found)
        if copied and (not version or series(version) != series(copied)):
            raise TargetRefused(
                f"{found} is of version {version or 'unknown'}, and the server was {copied}: "
                "nothing was restored",
                hint="install MariaDB of the same series; a dump moves between versions",
            )
        return found

    def put_plain(self, entry: Entry) -> Problem | None:
        return self._tree.put_plain(self._owned(entry))

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        if entry.path in _CHECKPOINTS:
            self._is_whole = True
        return self._tree.put_small(self._owned(entry), content)

    def open_large(self, entry: Entry) -> Writing:
        return self._tree.open_large(self._owned(entry))

    def _owned(self, entry: Entry) -> Entry:
        """The server's user has another number on another machine."""
        return replace(entry, uid=self._owner[0], gid=self._owner[1]) if self._owner else entry

    def finish(self) -> tuple[Problem, ...]:
        """Until the last transaction is replayed it bears the mark: it would start before that."""
        mark = self._tree.keep_mark()
        is_done = False
        try:
            problems = self._tree.finish()
            self._make_whole(problems)
            is_done = True
        finally:
            if mark:
                mark.settle(whole=is_done)
        return problems

    def _make_whole(self, problems: tuple[Problem, ...]) -> None:
        if not self._is_whole:
            what = "these are files of a base as they were copied; only a whole base can be started"
            self._around.report.emit(Notice("warning", f"{self._to}: {what}"))
            return
        if any(not problem.expected for problem in problems):
            raise TargetRefused(
                f"{self._to}: not all files could be restored: it was not prepared",
                hint="see what is told above; mend it, and restore again into an empty directory",
            )
        elsewhere = take_out(self._to)
        self._make_consistent()
        self._give()
        if elsewhere:
            bring_home(self._to, elsewhere, self._around.report)
        self._go_on()

    def _go_on(self) -> None:
        """Along the log that continues the snapshot, where there is one."""
        position = Position.of(self._facts)
        if self._around.log and position and self._around.goal.kind != "immediate":
            alike = Alike.of(self._facts)
            replay(self._to, position, self._around.log, self._around, alike)

    def _make_consistent(self) -> None:
        """Redo what was logged while the files were copied, undo what was not committed."""
        self._around.report.emit(Phase(f"preparing {self._to}"))
        argv = (self._tool(), "--prepare", f"--target-dir={self._to}")
        try:
            with running(argv, ends_with_us=True) as child:
                status = child.wait()
        except OSError as error:
            raise TargetRefused(f"{argv[0]}: cannot be run: {reason(error)}") from error
        if status or not child.last_line.endswith("completed OK!"):
            how = exit_words(status) if status else "ended without 'completed OK!'"
            raise IntegrityError(
                f"{self._to}: mariadb-backup --prepare {how}; it said:\n{child.words}",
                hint="remove it, and restore an earlier snapshot; this one cannot be started",
            )

    def _give(self) -> None:
        """What was made while preparing belongs to the server's user, too."""
        found = os.stat(self._to)
        if os.geteuid() == 0:
            give_all(self._to, found.st_uid, found.st_gid)


def _owner(name: str) -> tuple[int, int] | None:
    """The user of this name here, which only root can give files to."""
    if os.geteuid() != 0 or not name:
        return None
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return found.pw_uid, found.pw_gid
