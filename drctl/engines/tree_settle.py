"""What a restored thing has beside its content: owner, mode, attributes, times.

What a new thing gets by itself is not set again, since a restore of many small files is made of
system calls. What cannot be set is told once for all things that share the trouble.
"""

import errno
import os
import stat
import threading

from msgspec import Struct, field

from drctl.engines.tree_look import reason
from drctl.model import Entry, Kind, Problem

At = int | tuple[int, bytes]  # a descriptor of the thing; or of a directory, with a name in it

NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})  # no hard ones
FOREIGN = "it belongs to others, and only root can give it to them"
_SAFE_NS = (1 << 31) * 10**9  # until 2038 every file system holds a time that is not negative
_FINE_NS = 1_000_000_001  # a time that only a file system with nanoseconds holds


class Troubles:
    """What went wrong in the same way for many entries. Any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, bytes] = {}
        self._count: dict[str, int] = {}

    def add(self, path: bytes, what: str) -> None:
        with self._lock:
            self._first.setdefault(what, path)
            self._count[what] = self._count.get(what, 0) + 1

    def problems(self) -> tuple[Problem, ...]:
        """One for each kind, with the first path that had it."""
        return tuple(
            Problem(
                path, what if count == 1 else f"{what} (as of {count - 1} more)", what == FOREIGN
            )
            for (what, path), count in zip(self._first.items(), self._count.values(), strict=True)
        )


class Settler(Struct):
    """Sets metadata. `uid`, `gid`: what a new thing gets; `umask`: what its mode lacks."""

    uid: int
    gid: int
    umask: int
    troubles: Troubles = field(default_factory=Troubles)
    _is_root: bool = field(default_factory=lambda: os.geteuid() == 0)
    _groups: frozenset[int] = field(default_factory=lambda: frozenset(os.getgroups()))

    def settle(self, entry: Entry, at: At, made_mode: int = -1) -> None:
        """Owner, attributes, mode, ACLs, times: in this order, since each may undo the one before,
        and a mode may forbid what is still to be done. `made_mode`: the mode that it has."""
        where = at if isinstance(at, int) else b"/proc/self/fd/%d/%b" % at
        mode = entry.mode
        if entry.uid != self.uid or entry.gid != self.gid:
            mode = self._give(entry, at)
        for name, value in entry.xattrs:
            if not name.startswith(b"system."):
                self._attribute(entry, where, name, value)
        if entry.kind != Kind.SYMLINK and mode != made_mode:
            self._mode(entry, at, mode)
        for name, value in entry.xattrs:
            if name.startswith(b"system."):
                self._attribute(entry, where, name, value)
        self._time(entry, at)

    def _give(self, entry: Entry, at: At) -> int:
        """To its owner. Gives the mode that it may then have: a program that runs as its owner
        must not come to run as somebody else."""
        may_gid = self._is_root or entry.gid in self._groups
        uid = entry.uid if self._is_root and entry.uid != self.uid else -1
        gid = entry.gid if may_gid and entry.gid != self.gid else -1
        try:
            if isinstance(at, int):
                os.chown(at, uid, gid)
            else:
                os.chown(at[1], uid, gid, dir_fd=at[0], follow_symlinks=False)
        except OSError as error:
            self.troubles.add(entry.path, f"its owner could not be set: {reason(error)}")
            return entry.mode & ~(stat.S_ISUID | stat.S_ISGID)
        if self._is_root or (entry.uid == self.uid and may_gid):
            return entry.mode
        self.troubles.add(entry.path, FOREIGN)
        foreign = stat.S_ISUID if entry.uid != self.uid else 0
        return entry.mode & ~(foreign if may_gid else foreign | stat.S_ISGID)

    def _mode(self, entry: Entry, at: At, mode: int) -> None:
        try:
            if isinstance(at, int):
                os.chmod(at, mode)
            else:
                os.chmod(at[1], mode, dir_fd=at[0])
        except OSError as error:
            self.troubles.add(entry.path, f"its mode could not be set: {reason(error)}")

    def _attribute(self, entry: Entry, where: int | bytes, name: bytes, value: bytes) -> None:
        try:
            os.setxattr(where, name, value, follow_symlinks=isinstance(where, int))
        except OSError as error:
            shown = name.decode("utf-8", "backslashreplace")
            what = f"its attribute {shown} could not be set: {reason(error)}"
            self.troubles.add(entry.path, what)

    def _time(self, entry: Entry, at: At) -> None:
        """The time of access is not known; it becomes that of the last change."""
        wanted = entry.mtime_ns
        try:
            if isinstance(at, int):
                os.utime(at, ns=(wanted, wanted))
            else:
                os.utime(at[1], ns=(wanted, wanted), dir_fd=at[0], follow_symlinks=False)
            if not 0 <= wanted < _SAFE_NS and self._seen(at) != wanted:
                self.troubles.add(entry.path, "its time is beyond what this file system can hold")
        except (OSError, OverflowError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            self.troubles.add(entry.path, f"its time could not be set: {why}")

    def _seen(self, at: At) -> int:
        if isinstance(at, int):
            return os.fstat(at).st_mtime_ns
        return os.stat(at[1], dir_fd=at[0], follow_symlinks=False).st_mtime_ns


def learn(root: int) -> Settler:
    """What new things get in an empty directory, seen on one that is made and removed there.
    Raises OSError."""
    name = b".drctl-trial"
    os.mkdir(name, 0o777, dir_fd=root)
    try:
        made = os.stat(name, dir_fd=root)
        settler = Settler(made.st_uid, made.st_gid, ~made.st_mode & 0o777)
        os.utime(name, ns=(_FINE_NS, _FINE_NS), dir_fd=root)
        if os.stat(name, dir_fd=root).st_mtime_ns != _FINE_NS:
            settler.troubles.add(b".", "this file system keeps times less exactly than they were")
    finally:
        os.rmdir(name, dir_fd=root)
    return settler
