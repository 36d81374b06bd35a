"""Putting a tree back below a directory that nobody else can reach meanwhile.

Nothing is followed and nothing is overwritten: a thing is only ever made inside a directory that
this restore made, reached from the target's descriptor, so that neither a repository nor another
user can lead it elsewhere. What must be right only at the end (directories' metadata, hard links)
is set at the end, deepest first; then everything is made durable in one go.
"""

import errno
import os
import secrets
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from drctl.durable import sync_names
from drctl.engines.base import Writing
from drctl.engines.tree_extents import extents_of, write_extents
from drctl.engines.tree_look import reason
from drctl.engines.tree_settle import NO_LINKS, Settler, learn
from drctl.engines.unfinished import (
    MARK,
    Unfinished,
    refuse_what_is_there,
    sync_file_system,
)
from drctl.errors import TargetRefused
from drctl.model import Entry, Kind, Problem
from drctl.private import make_above

_PATH_LIMIT_BYTES = 4000  # PATH_MAX is 4096
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTIAL = b".drctl-partial-"
_FLUSH_BYTES = 16 << 20
_PIECES_AT_ONCE = 1024  # IOV_MAX of Linux
_NODES = {
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
}
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_TOO_LARGE = "could not be restored: the target's file system, or 'ulimit -f', allows none so large"
_ACLS = ("system.posix_acl_default", "system.posix_acl_access")

Make = Callable[[Entry, int, bytes], None]  # makes a thing by its name in an open directory


class TreeTarget:
    """Restores entries below `to`; see engines.base.Target. A directory that is not there is made;
    one that is there must be empty. Until `finish` nobody else may enter it."""

    def __init__(self, to: str) -> None:
        self._to = os.path.realpath(os.fsencode(to))
        self._root = -1
        self._unfinished: Unfinished | None = None
        self._own: os.stat_result | None = None  # of a directory that was there before
        self._made: set[bytes | None] = {None}  # None: the target itself
        self._lock = threading.Lock()
        self._directories: list[tuple[Entry, int]] = []  # with the mode that they have
        self._links: list[Entry] = []
        self._run = secrets.token_hex(6).encode()
        self._partials = 0
        self._settler = Settler(-1, -1, 0)

    def prepare(self) -> None:
        try:
            was_there = os.path.isdir(self._to)
            make_above(self._to)
            os.makedirs(self._to, mode=0o700, exist_ok=True)
            self._root = os.open(self._to, _ENTER)
            refuse_what_is_there(self._root, self._shown)
            self._own = os.fstat(self._root) if was_there else None
            self._take()
            self._unfinished = Unfinished(self._root)
            self._settler = learn(self._root)
        except OSError as error:
            raise TargetRefused(f"{self._shown}: {reason(error)}: nothing was restored") from error

    @property
    def _shown(self) -> str:
        return self._to.decode("utf-8", "backslashreplace")

    def _take(self) -> None:
        """The directory is ours alone while we work, and hands nothing down to what is made."""
        if os.fstat(self._root).st_uid != os.geteuid():
            os.chown(self._root, os.geteuid(), -1)
        for name in _ACLS:
            with suppress(OSError):  # it has none
                os.removexattr(self._root, name)
        os.chmod(self._root, 0o700)

    # -- entries ------------------------------------------------------------------------------

    def put_plain(self, entry: Entry) -> Problem | None:
        if entry.path == b".":
            self._directories.append((entry, -1))
            return None
        if entry.kind == Kind.HARDLINK:
            self._links.append(entry)
            return None
        return self._trying(entry, self._directory if entry.kind == Kind.DIRECTORY else self._node)

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        def make(entry: Entry, above: int, name: bytes) -> None:
            self._file(entry, above, name, content)

        return self._trying(entry, make)

    def open_large(self, entry: Entry) -> Writing:
        try:
            return _LargeFile(self, entry, *self._open_partial())
        except OSError as error:
            raise self._disk(error) from error

    def _trying(self, entry: Entry, make: Make) -> Problem | None:
        """Make a thing in its directory, which is one that this restore made."""
        path = entry.path
        above, separator, name = path.rpartition(b"/")
        parent = above if separator else None
        try:
            if path == MARK:
                self._take_mark_back()
            if parent not in self._made:
                self._make_parents(above)
            if len(path) < _PATH_LIMIT_BYTES:
                make(entry, self._root, path)
            else:
                self._far_down(above, lambda descriptor: make(entry, descriptor, name))
        except OSError as error:
            if error.errno in _DISK:
                raise self._disk(error) from error
            return Problem(path, f"could not be restored: {reason(error)}", absent=True)
        return None

    def _far_down(self, path: bytes, use: Callable[[int], None]) -> None:
        """Use a directory that cannot be named in one go."""
        here = os.dup(self._root)
        try:
            for name in path.split(b"/"):
                deeper = os.open(name, _ENTER, dir_fd=here)
                os.close(here)
                here = deeper
            use(here)
        finally:
            os.close(here)

    def _make_parents(self, parent: bytes) -> None:
        """Directories above a path that is restored by itself. A path that would lead out of the
        target goes no further than here. Raises OSError."""
        parts = parent.split(b"/")
        if any(part in (b"", b".", b"..") for part in parts):
            raise OSError(errno.EINVAL, "its path leads out of the target")
        with self._lock:
            for depth in range(1, len(parts) + 1):
                path = b"/".join(parts[:depth])
                if path not in self._made:
                    os.mkdir(path, 0o700, dir_fd=self._root)
                    self._made.add(path)

    def _directory(self, entry: Entry, above: int, name: bytes) -> None:
        """With its mode where that lets us work in it; the rest comes in `finish`."""
        made = -1
        if entry.path not in self._made:
            mode = entry.mode if entry.mode & 0o7700 == 0o700 and not entry.xattrs else 0o700
            os.mkdir(name, mode, dir_fd=above)
            made = mode & ~self._settler.umask
            self._made.add(entry.path)
        self._directories.append((entry, made))

    def _node(self, entry: Entry, above: int, name: bytes) -> None:
        try:
            if entry.kind == Kind.SYMLINK:
                os.symlink(entry.link, name, dir_fd=above)
            else:
                device = os.makedev(*entry.device) if entry.device else 0
                os.mknod(name, _NODES[Kind(entry.kind)] | 0o600, device, dir_fd=above)
        except PermissionError:
            if not entry.device:
                raise
            self._settler.troubles.add(entry.path, "it is a device, and only root can make one")
            return
        self._settler.settle(entry, (above, name))

    def _file(self, entry: Entry, above: int, name: bytes, content: bytes | memoryview) -> None:
        """A file that could not be written whole is not left there."""
        settler = self._settler
        # Attributes can be set only on what may be written.
        mode = entry.mode & 0o777 | (0o200 if entry.xattrs else 0)
        descriptor = os.open(name, _CREATE, mode, dir_fd=above)
        try:
            if entry.extents:
                write_extents(descriptor, extents_of(entry), memoryview(content))
                os.ftruncate(descriptor, entry.size)
            elif content and os.write(descriptor, content) != len(content):
                write_extents(descriptor, extents_of(entry), memoryview(content))
            settler.settle(entry, descriptor, mode & ~settler.umask)
        except OSError:
            os.unlink(name, dir_fd=above)
            raise
        finally:
            os.close(descriptor)

    # -- large files --------------------------------------------------------------------------

    def _open_partial(self) -> tuple[bytes, int]:
        """A file under a name that nothing in the snapshot has, or will have: a restore that was
        killed may have left some at the source, so no two restores have the same."""
        while True:
            with self._lock:
                self._partials += 1
                name = b"%b%b-%d" % (_PARTIAL, self._run, self._partials)
            with suppress(FileExistsError):
                return name, os.open(name, _CREATE, 0o600, dir_fd=self._root)

    def settle_large(self, entry: Entry, partial: bytes, descriptor: int) -> Problem | None:
        """A large file is whole: set what it has, and give it its name."""
        try:
            self._settler.settle(entry, descriptor, -1)
            os.close(descriptor)
            return self._trying(entry, lambda _, above, name: self._name(partial, above, name))
        finally:
            self.drop(partial)

    def _name(self, partial: bytes, above: int, name: bytes) -> None:
        """Linking never replaces what is there, as renaming would."""
        try:
            os.link(partial, name, src_dir_fd=self._root, dst_dir_fd=above, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS or _is_there(above, name):
                raise
            os.rename(partial, name, src_dir_fd=self._root, dst_dir_fd=above)

    def drop(self, partial: bytes) -> None:
        with suppress(FileNotFoundError):  # it was renamed
            os.unlink(partial, dir_fd=self._root)

    # -- the end ------------------------------------------------------------------------------

    def finish(self) -> tuple[Problem, ...]:
        try:
            links = [self._trying(entry, self._link) for entry in self._links]
            self._directories.sort(key=lambda made: made[0].path != b".")  # settled last
            settled = [self._settle(*made) for made in reversed(self._directories)]
            self._take_mark_back()
            self._give_back()
            sync_names(self._root)
        except OSError as error:
            raise self._disk(error) from error
        finally:
            os.close(self._root)
        found = tuple(problem for problem in (*links, *settled) if problem)
        return found + self._settler.troubles.problems()

    def _link(self, entry: Entry, above: int, name: bytes) -> None:
        parent, separator, first = entry.link.rpartition(b"/")
        if (parent if separator else None) not in self._made:
            raise OSError(errno.ENOENT, self._without(entry))
        try:
            if len(entry.link) < _PATH_LIMIT_BYTES:
                _link(self._root, entry.link, above, name)
            else:
                self._far_down(parent, lambda where: _link(where, first, above, name))
        except FileNotFoundError as error:
            raise OSError(errno.ENOENT, self._without(entry)) from error

    def _without(self, entry: Entry) -> str:
        first = entry.link.decode("utf-8", "backslashreplace")
        return f"it is another name of {first}, which was not restored; restore that with it"

    def keep_mark(self) -> Unfinished | None:
        """The mark stays beyond `finish`, for whoever has more to do before all is whole, and takes
        it back. None: there is none."""
        mark, self._unfinished = self._unfinished, None
        return mark.apart() if mark else None

    def _take_mark_back(self) -> None:
        """Everything but the target's own metadata is on the disk."""
        if self._unfinished:
            sync_file_system(self._root)
            self._unfinished.take_back()
            self._unfinished = None

    def _settle(self, entry: Entry, made_mode: int) -> Problem | None:
        if entry.path == b".":
            self._take_mark_back()  # it would change the time again
            self._own = None  # the snapshot knows what the directory is to be
            self._settler.settle(entry, self._root)
            return None
        return self._trying(
            entry, lambda _, above, name: self._settler.settle(entry, (above, name), made_mode)
        )

    def _give_back(self) -> None:
        """The target is whose it was, where the snapshot says nothing of it."""
        if self._own:
            now = os.fstat(self._root)
            if (now.st_uid, now.st_gid) != (self._own.st_uid, self._own.st_gid):
                os.chown(self._root, self._own.st_uid, self._own.st_gid)
            os.chmod(self._root, stat.S_IMODE(self._own.st_mode))

    def settle(self) -> None:
        """All that was written so far is on the disk. Raises TargetRefused."""
        try:
            sync_file_system(self._root)
        except OSError as error:
            raise self._disk(error) from error

    def _disk(self, error: OSError) -> TargetRefused:
        """The target itself fails: going on would only repeat it."""
        return TargetRefused(
            f"{self._shown}: cannot be written: {reason(error)}",
            hint="mend it or name another target, and restore again; the repository is unharmed",
        )


class _LargeFile:
    """A file being written under another name; see engines.base.Writing."""

    def __init__(self, target: TreeTarget, entry: Entry, partial: bytes, descriptor: int) -> None:
        self._target = target
        self._entry = entry
        self._partial = partial
        self._descriptor = descriptor
        self._written_bytes = 0
        self._unflushed_bytes = 0
        self._problem: Problem | None = None

    def write(self, piece: bytes | memoryview) -> None:
        self.write_at(self._written_bytes, [piece])
        self._written_bytes += len(piece)

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        size = sum(map(len, pieces))
        if self._problem:
            return
        try:
            done = 0
            if not self._entry.extents and offset + size <= self._entry.size:
                done = os.pwritev(self._descriptor, pieces[:_PIECES_AT_ONCE], offset)
            if done < size:
                rest = memoryview(b"".join(pieces))[done:]
                write_extents(self._descriptor, extents_of(self._entry, offset + done), rest)
            self._unflushed_bytes += size  # threads that miss each other's do no harm
            if self._unflushed_bytes >= _FLUSH_BYTES:
                self._begin_flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """What is of this file alone keeps no other from coming back: FAT holds none of 4 GiB. Any
        thread may be the first to see it."""
        if error.errno != errno.EFBIG:
            raise self._target._disk(error) from error
        self._problem = Problem(self._entry.path, _TOO_LARGE, absent=True)

    def _begin_flush(self) -> None:
        """The disk begins now, while the rest is being read: `finish` waits for it otherwise."""
        self._unflushed_bytes = 0
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> Problem | None:
        try:
            os.ftruncate(self._descriptor, 0 if self._problem else self._entry.size)
            self._begin_flush()
        except OSError as error:
            self._fail(error)
        if self._problem:
            self.abort()
            return self._problem
        return self._target.settle_large(self._entry, self._partial, self._descriptor)

    def abort(self) -> None:
        os.close(self._descriptor)
        self._target.drop(self._partial)


def _link(source: int, first: bytes, above: int, name: bytes) -> None:
    os.link(first, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)


def _is_there(above: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
