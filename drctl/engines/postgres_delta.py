"""Putting a tree back over one that is there: only what differs is written, what is not in the
snapshot goes.

Directories are entered one by one from the top and no link in them is followed, so that whoever
owns the tree cannot lead a restore that runs as root elsewhere.
"""

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from drctl.durable import sync_names
from drctl.engines.base import Writing
from drctl.engines.postgres_layout import BLOCK_BYTES
from drctl.engines.tree_look import reason
from drctl.engines.unfinished import sync_file_system
from drctl.errors import TargetRefused
from drctl.model import Entry, Kind, Problem
from drctl.private import make_above

_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class DeltaTree:
    """See engines.base.Target. Nobody else may write there meanwhile. `shared`: what stands at the
    top and is not the snapshot's is somebody else's, and stays."""

    def __init__(self, to: str, *, shared: bool = False) -> None:
        self._to = to
        self._shared = shared
        self._root = -1
        self._kept: set[bytes] = set()
        self._lock = threading.Lock()
        self.written_bytes = 0
        self.same_bytes = 0

    def prepare(self) -> None:
        try:
            make_above(self._to)
            os.makedirs(self._to, mode=0o700, exist_ok=True)
            self._root = os.open(self._to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> TargetRefused:
        return TargetRefused(
            f"{self._to}: cannot be written: {reason(error)}",
            hint="it is no cluster now: mend it and restore again; the repository is unharmed",
        )

    @contextmanager
    def _above(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """The open directory of a path, and the name in it. Raises TargetRefused."""
        *parents, name = path.split(b"/")
        here = os.dup(self._root)
        try:
            for parent in parents:
                deeper = os.open(parent, _ENTER, dir_fd=here)
                os.close(here)
                here = deeper
            yield here, name
        except OSError as error:
            raise self._refused(error) from error
        finally:
            os.close(here)

    def put_plain(self, entry: Entry) -> Problem | None:
        if entry.path == b".":
            self._own(self._root, entry)
            return None
        self._keep(entry.path)
        with self._above(entry.path) as (above, name):
            if entry.kind == Kind.SYMLINK:
                self._link(above, name, entry)
            elif entry.kind == Kind.DIRECTORY:
                self._directory(above, name, entry)
            else:
                return Problem(entry.path, "is not part of a cluster, and was not restored")
        return None

    def _keep(self, path: bytes) -> None:
        with self._lock:
            self._kept.add(path)

    def _link(self, above: int, name: bytes, entry: Entry) -> None:
        if _kind(above, name) == stat.S_IFLNK and os.readlink(name, dir_fd=above) == entry.link:
            return
        self._clear(above, name, b"")
        os.symlink(entry.link, name, dir_fd=above)

    def _directory(self, above: int, name: bytes, entry: Entry) -> None:
        if _kind(above, name) != stat.S_IFDIR:
            self._clear(above, name, b"")
            os.mkdir(name, 0o700, dir_fd=above)
        here = os.open(name, _ENTER, dir_fd=above)
        try:
            self._own(here, entry)
        finally:
            os.close(here)

    def _own(self, descriptor: int, entry: Entry) -> None:
        found = os.fstat(descriptor)
        if os.geteuid() == 0 and (found.st_uid, found.st_gid) != (entry.uid, entry.gid):
            os.chown(descriptor, entry.uid, entry.gid)
        if stat.S_IMODE(found.st_mode) != entry.mode:
            os.chmod(descriptor, entry.mode)

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        writing = self.open_large(entry)
        try:
            writing.write(content)
        except BaseException:
            writing.abort()
            raise
        return writing.close()

    def open_large(self, entry: Entry) -> Writing:
        self._keep(entry.path)
        with self._above(entry.path) as (above, name):
            if _kind(above, name) not in {stat.S_IFREG, 0} or _has_more_names(above, name):
                self._clear(above, name, b"")
            return _Overwriting(self, entry, os.open(name, _FILE, 0o600, dir_fd=above))

    def conclude(self, descriptor: int, entry: Entry, written: int, same: int) -> None:
        """A file is as it must be."""
        try:
            os.ftruncate(descriptor, entry.size)
            self._own(descriptor, entry)
            if written:
                os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        except OSError as error:
            raise self._refused(error) from error
        with self._lock:
            self.written_bytes += written
            self.same_bytes += same

    def remove(self, path: bytes) -> None:
        """It may be missing. That it is gone is on the disk before anything else is written."""
        with self._above(path) as (above, name), suppress(FileNotFoundError):
            os.unlink(name, dir_fd=above)
            sync_names(above)

    def settle(self) -> None:
        """What the snapshot does not hold goes; then all of it is on the disk."""
        try:
            self._sweep(os.dup(self._root), b"")
            sync_file_system(self._root)
        except OSError as error:
            raise self._refused(error) from error

    def finish(self) -> tuple[Problem, ...]:
        try:
            self.settle()
        finally:
            os.close(self._root)
        return ()

    def _sweep(self, here: int, prefix: bytes) -> None:
        try:
            for name in map(os.fsencode, os.listdir(here)):
                path = prefix + name
                if path not in self._kept:
                    if self._shared and not prefix:
                        continue
                    self._clear(here, name, path)
                elif _kind(here, name) == stat.S_IFDIR:
                    self._sweep(os.open(name, _ENTER, dir_fd=here), path + b"/")
        finally:
            os.close(here)

    def _clear(self, above: int, name: bytes, path: bytes) -> None:
        """Remove a thing, whatever it is."""
        kind = _kind(above, name)
        if kind == stat.S_IFDIR:
            here = os.open(name, _ENTER, dir_fd=above)
            try:
                for below in map(os.fsencode, os.listdir(here)):
                    self._clear(here, below, path)
            finally:
                os.close(here)
            os.rmdir(name, dir_fd=above)
        elif kind:
            os.unlink(name, dir_fd=above)


class _Overwriting:
    """A file that is compared piece by piece; see engines.base.Writing."""

    def __init__(self, tree: DeltaTree, entry: Entry, descriptor: int) -> None:
        self._tree = tree
        self._entry = entry
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._at = self._written = self._same = 0

    def write(self, piece: bytes | memoryview) -> None:
        self.write_at(self._at, [piece])
        self._at += len(piece)

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        wanted = b"".join(pieces)  # comparing a view goes byte by byte, twenty times as slow
        try:
            found = os.pread(self._descriptor, len(wanted), offset)
            written = 0 if found == wanted else self._write_what_differs(offset, wanted, found)
        except OSError as error:
            raise self._tree._refused(error) from error
        with self._lock:
            self._same += len(wanted) - written
            self._written += written

    def _write_what_differs(self, offset: int, wanted: bytes, found: bytes) -> int:
        """Gives how many bytes were written."""
        written = 0
        for at in range(0, len(wanted), BLOCK_BYTES):
            block = wanted[at : at + BLOCK_BYTES]
            if found[at : at + BLOCK_BYTES] != block:
                _overwrite(self._descriptor, memoryview(block), offset + at)
                written += len(block)
        return written

    def close(self) -> Problem | None:
        try:
            self._tree.conclude(self._descriptor, self._entry, self._written, self._same)
        finally:
            os.close(self._descriptor)
        return None

    def abort(self) -> None:
        """What is there is not whole, and without pg_control nobody takes it for that."""
        os.close(self._descriptor)


def _overwrite(descriptor: int, piece: memoryview, at: int) -> None:
    while piece:
        done = os.pwrite(descriptor, piece, at)
        at, piece = at + done, piece[done:]


def _kind(above: int, name: bytes) -> int:
    """What stands there: 0 for nothing."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0


def _has_more_names(above: int, name: bytes) -> bool:
    """What is written there would be written into somebody's copy that was made with links."""
    try:
        return os.stat(name, dir_fd=above, follow_symlinks=False).st_nlink > 1
    except FileNotFoundError:
        return False
