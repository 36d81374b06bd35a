"""Putting a tree back below a directory that nothing else can reach meanwhile.

Nothing is followed and nothing is overwritten: an entry is only ever made inside a directory that
this restore made, so a repository cannot lead it elsewhere. What must be right only at the end
(directories' metadata, hard links) is set at the end, deepest first.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from drctl.engines.base import Writing
from drctl.engines.tree_look import reason
from drctl.errors import TargetRefused
from drctl.model import Entry, Kind, Problem

_NAME_LIMIT = 3800
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTIAL = b".drctl-partial-"
_NODES = {
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
}
Make = Callable[[Entry, bytes], str]  # gives what could not be set, in words
Call = Callable[..., Any]
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class TreeTarget:
    """Restores entries below `to`; see engines.base.Target. A directory that is not there is made;
    one that is there must be empty."""

    def __init__(self, to: str) -> None:
        self._to = os.path.abspath(os.fsencode(to))
        self._made: set[bytes] = set()
        self._lock = threading.Lock()
        self._directories: list[Entry] = []
        self._links: list[Entry] = []
        self._partials = 0
        self.owner = _Owner()

    def prepare(self) -> None:
        shown = os.fsdecode(self._to)
        try:
            os.makedirs(self._to, mode=0o700, exist_ok=True)
            if os.listdir(self._to):
                raise TargetRefused(
                    f"{shown} is not empty: nothing was restored",
                    hint="name a directory that is empty, or does not exist yet",
                )
        except OSError as error:
            raise TargetRefused(f"{shown}: {reason(error)}: nothing was restored") from error
        self._made.add(b"")

    # -- where things go ----------------------------------------------------------------------

    @contextmanager
    def _at(self, path: bytes) -> Iterator[bytes]:
        """An address for a path below the target, inside a directory that this restore made."""
        parent, _, name = path.rpartition(b"/")
        if parent not in self._made:
            self._make_parents(parent)
        if len(self._to) + len(path) < _NAME_LIMIT:
            yield self._to + b"/" + path
            return
        descriptor = self._open_directory(parent)
        try:
            yield b"/proc/self/fd/%d/%b" % (descriptor, name)
        finally:
            os.close(descriptor)

    def _open_directory(self, path: bytes) -> int:
        """A directory that is too far down to be named in one go."""
        here = os.open(self._to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in path.split(b"/") if path else ():
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
                deeper = os.open(name, flags, dir_fd=here)
            finally:
                os.close(here)
            here = deeper
        return here

    def _make_parents(self, parent: bytes) -> None:
        """Directories above a path that was restored by itself."""
        with self._lock:
            parts = parent.split(b"/")
            for depth in range(1, len(parts) + 1):
                path = b"/".join(parts[:depth])
                if path not in self._made:
                    with self._at(path) as where:
                        os.mkdir(where, 0o700)
                    self._made.add(path)

    # -- entries ------------------------------------------------------------------------------

    def put_plain(self, entry: Entry) -> Problem | None:
        if entry.path == b".":
            self._directories.append(entry)
            return None
        if entry.kind == Kind.HARDLINK:
            self._links.append(entry)
            return None
        return self._trying(entry, self._make)

    def _make(self, entry: Entry, where: bytes) -> str:
        if entry.kind == Kind.DIRECTORY:
            os.mkdir(where, 0o700)
            self._made.add(entry.path)
            self._directories.append(entry)
            return ""
        if entry.kind == Kind.SYMLINK:
            os.symlink(entry.link, where)
        else:
            device = os.makedev(*entry.device) if entry.device else 0
            os.mknod(where, _NODES[Kind(entry.kind)] | 0o600, device)
        return self.owner.settle(entry, where)

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        def make(entry: Entry, where: bytes) -> str:
            mode = entry.mode & 0o777
            descriptor = os.open(where, _CREATE, mode)
            try:
                if entry.extents:
                    _write_sparse(descriptor, entry, content)
                elif content:
                    _write_all(descriptor, content)
                return self.owner.settle(entry, descriptor, self.owner.made_mode(mode))
            finally:
                os.close(descriptor)

        return self._trying(entry, make)

    def open_large(self, entry: Entry) -> Writing:
        with self._lock:
            self._partials += 1
            partial = b"%b/%b%d" % (self._to, _PARTIAL, self._partials)
        try:
            return _LargeFile(self, entry, partial, os.open(partial, _CREATE, 0o600))
        except OSError as error:
            raise _disk(self._to, error) from error

    def place(self, entry: Entry, partial: bytes) -> Problem | None:
        """A large file is whole: give it its name."""

        def make(_: Entry, where: bytes) -> str:
            os.link(partial, where, follow_symlinks=False)
            return ""

        try:
            return self._trying(entry, make)
        finally:
            os.unlink(partial)

    def _trying(self, entry: Entry, make: Make) -> Problem | None:
        try:
            with self._at(entry.path) as where:
                trouble = make(entry, where)
        except OSError as error:
            if error.errno in _FULL:
                raise _disk(self._to, error) from error
            trouble = f"could not be restored: {reason(error)}"
        return Problem(entry.path, trouble) if trouble else None

    # -- the end ------------------------------------------------------------------------------

    def finish(self) -> tuple[Problem, ...]:
        links = [self._trying(entry, self._link) for entry in self._links]
        settled = [self._settle_directory(entry) for entry in reversed(self._directories)]
        return tuple(problem for problem in (*links, *settled) if problem)

    def _link(self, entry: Entry, where: bytes) -> str:
        with self._at(entry.link) as first:
            os.link(first, where, follow_symlinks=False)
        return ""

    def _settle_directory(self, entry: Entry) -> Problem | None:
        if entry.path == b".":
            trouble = self.owner.settle(entry, self._to)
            return Problem(entry.path, trouble) if trouble else None
        return self._trying(entry, self.owner.settle)


class _LargeFile:
    """A file being written under another name; see engines.base.Writing."""

    def __init__(self, target: TreeTarget, entry: Entry, partial: bytes, descriptor: int) -> None:
        self._target = target
        self._entry = entry
        self._partial = partial
        self._descriptor = descriptor
        self._rest = _extents_of(entry)

    def write(self, piece: bytes | memoryview) -> None:
        try:
            self._rest = _write_extents(self._descriptor, self._rest, memoryview(piece))
        except OSError as error:
            raise _disk(self._partial, error) from error

    def close(self) -> Problem | None:
        try:
            os.ftruncate(self._descriptor, self._entry.size)
            trouble = self._target.owner.settle(self._entry, self._descriptor)
        except OSError as error:
            raise _disk(self._partial, error) from error
        finally:
            os.close(self._descriptor)
        placed = self._target.place(self._entry, self._partial)
        return placed or (Problem(self._entry.path, trouble) if trouble else None)

    def abort(self) -> None:
        os.close(self._descriptor)
        with suppress(OSError):
            os.unlink(self._partial)


class _Owner:
    """Sets what a new thing has beside its content. What it gets by itself is not set again: a
    restore of many small files is made of system calls."""

    def __init__(self) -> None:
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._may_chown = self._uid == 0
        self._groups = frozenset((self._gid, *os.getgroups()))
        self._umask = os.umask(0o077)
        os.umask(self._umask)

    def made_mode(self, mode: int) -> int:
        """The mode that a new file has when it was made with `mode`."""
        return mode & ~self._umask

    def settle(self, entry: Entry, where: bytes | int, made_mode: int = -1) -> str:
        """Owner, mode, attributes, times, in this order: each may undo the one before. Gives what
        could not be set, in words. `made_mode`: the mode that it has already."""
        troubles: list[str] = []
        follow: dict[str, bool] = {} if isinstance(where, int) else {"follow_symlinks": False}
        self._chown(entry, where, follow, troubles)
        if entry.kind != Kind.SYMLINK and entry.mode != made_mode:
            _doing("its mode", troubles, os.chmod, where, entry.mode)
        for name, value in entry.xattrs:
            what = f"attribute {os.fsdecode(name)}"
            _doing(what, troubles, os.setxattr, where, name, value, **follow)
        times = (entry.mtime_ns, entry.mtime_ns)
        _doing("its time", troubles, os.utime, where, ns=times, **follow)
        return "; ".join(troubles)

    def _chown(
        self, entry: Entry, where: bytes | int, follow: dict[str, bool], troubles: list[str]
    ) -> None:
        """A normal user cannot give things away: only a group of his own is tried."""
        uid = entry.uid if self._may_chown and entry.uid != self._uid else -1
        gid = entry.gid if entry.gid != self._gid else -1
        if not self._may_chown and gid not in self._groups:
            gid = -1
        if uid != -1 or gid != -1:
            _doing("its owner", troubles, os.chown, where, uid, gid, **follow)


def _doing(what: str, troubles: list[str], call: Call, *args: object, **named: object) -> None:
    try:
        call(*args, **named)
    except (OSError, OverflowError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        troubles.append(f"{what} could not be set: {why}")


def _write_all(descriptor: int, content: bytes | memoryview) -> None:
    done = os.write(descriptor, content)
    while done < len(content):
        done += os.write(descriptor, memoryview(content)[done:])


Extents = list[tuple[int, int]]  # (offset, length) that is still to be written


def _extents_of(entry: Entry) -> Extents:
    if not entry.extents:
        return [(0, entry.size)]
    return list(zip(entry.extents[::2], entry.extents[1::2], strict=True))


def _write_extents(descriptor: int, extents: Extents, piece: memoryview) -> Extents:
    """Write a piece of content where it belongs. Gives what is left to be written."""
    while piece and extents:
        offset, length = extents[0]
        done = os.pwrite(descriptor, piece[:length], offset)
        piece = piece[done:]
        rest = [(offset + done, length - done)] if done < length else []
        extents = rest + extents[1:]
    return extents


def _write_sparse(descriptor: int, entry: Entry, content: bytes | memoryview) -> None:
    _write_extents(descriptor, _extents_of(entry), memoryview(content))
    os.ftruncate(descriptor, entry.size)


def _disk(where: bytes, error: OSError) -> TargetRefused:
    """The target itself fails: going on would only repeat it."""
    return TargetRefused(
        f"{os.fsdecode(where)}: cannot be written: {reason(error)}",
        hint="mend it or name another target, and restore again; the repository is unharmed",
    )
