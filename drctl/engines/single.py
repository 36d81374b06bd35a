"""Restoring a snapshot that is one file: a database copy, a command's output.

The place is named as for `cp`: an existing directory, or a path that ends in `/`, takes the file
under its own name; anything else is the file itself.
"""

import fcntl
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from drctl.durable import sync_directory
from drctl.engines.base import Writing
from drctl.engines.tree_look import reason
from drctl.engines.tree_settle import NO_LINKS, Troubles
from drctl.errors import Busy, TargetRefused
from drctl.model import Entry, Problem
from drctl.private import make_above

Last = Callable[[str], None]  # takes the path of the whole file before it gets its name

_LONG_NAME_BYTES = 128  # some file systems that encrypt names hold 143, others 255
_OPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class SingleTarget:
    """Puts one file back under `to`; see engines.base.Target. `last` may still refuse it.
    `beside`: endings of what belongs to a file of that name, and may not stand there either."""

    def __init__(self, to: str, last: Last | None = None, beside: tuple[str, ...] = ()) -> None:
        self._to = to
        self._last = last
        self._beside = beside
        self._troubles = Troubles()
        self.path = ""

    def prepare(self) -> None:
        if not self._is_directory():
            self.refuse_existing(self._to)

    def _is_directory(self) -> bool:
        return self._to.endswith("/") or os.path.isdir(self._to)

    def refuse_existing(self, path: str) -> None:
        """Raises TargetRefused, naming all that stands there."""
        parts = [path, *(path + ending for ending in self._beside)]
        found = [part for part in parts if os.path.lexists(part)]
        if found:
            also = f", all to one new name: {_moved_away(path, found)}" if self._beside else ""
            raise TargetRefused(
                f"{', '.join(found)} {'exists' if len(found) == 1 else 'exist'}: "
                "nothing was restored",
                hint=f"move it away first, or name another place{also}",
            )

    def put_plain(self, entry: Entry) -> Problem | None:
        return Problem(entry.path, "is not a file, and cannot be restored as one")

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        writing = self.open_large(entry)
        try:
            writing.write(content)
        except BaseException:
            writing.abort()
            raise
        return writing.close()

    def open_large(self, entry: Entry) -> Writing:
        self.path = self._to
        if self._is_directory():
            self.path = os.path.join(self._to, os.path.basename(os.fsdecode(entry.path)))
            self.refuse_existing(self.path)
        try:
            make_above(self.path)
            return _File(self.path, entry, self._last, self._troubles)
        except OSError as error:
            raise _refused(self.path, error) from error

    def finish(self) -> tuple[Problem, ...]:
        return self._troubles.problems()


class _File:
    """Written beside its name, which it gets when it is whole, proven and on the disk. Who writes
    it holds its lock."""

    def __init__(self, path: str, entry: Entry, last: Last | None, troubles: Troubles) -> None:
        self._path = path
        self._entry = entry
        self._last = last
        self._troubles = troubles
        self._partial = _partial_beside(path)
        self._descriptor = -1
        try:
            self._begin()
        except BaseException:
            self._close()
            raise

    def _begin(self) -> None:
        """Raises OSError, Busy."""
        while self._descriptor < 0:
            with suppress(FileExistsError):
                self._descriptor = os.open(self._partial, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
                self._lock(self._descriptor)
                if self._is_named(self._descriptor):
                    return
                self._close()  # who took it for a killed one's removed it before it was locked
            with suppress(FileNotFoundError):
                self._clear()

    def _clear(self) -> None:
        """What a killed restore left goes; another one may be at it. Raises OSError, Busy."""
        left = os.open(self._partial, _OPEN)
        try:
            self._lock(left)
            if self._is_named(left):
                os.unlink(self._partial)
        finally:
            os.close(left)

    def _is_named(self, descriptor: int) -> bool:
        """Whether the partial file's name still leads to what is open."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.lstat(self._partial))
        return False

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"{self._path}: another drctl restores it right now: nothing was restored",
                hint="wait for it, or name another place",
            ) from error
        except OSError:
            return  # a file system without locks

    def write(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise _refused(self._path, error) from error

    def close(self) -> Problem | None:
        try:
            os.fsync(self._descriptor)
            if self._last:
                self._last(self._partial)
            self._metadata()
            self._name()
        except OSError as error:
            raise _refused(self._path, error) from error
        finally:
            self.abort()
        sync_directory(os.path.dirname(os.path.abspath(self._path)))
        return None

    def _name(self) -> None:
        """Linking never replaces what is there, as renaming would."""
        try:
            os.link(self._partial, self._path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINKS or os.path.lexists(self._path):
                raise
            os.rename(self._partial, self._path)

    def _metadata(self) -> None:
        entry = self._entry
        try:
            if os.geteuid() == 0:
                os.chown(self._partial, entry.uid, entry.gid)
        except OSError as error:  # a file system without owners, or they are not known here
            self._troubles.add(entry.path, f"its owner could not be set: {reason(error)}")
        os.chmod(self._partial, entry.mode or 0o600)
        with suppress(OverflowError):  # beyond what the system can hold; the content is what counts
            os.utime(self._partial, ns=(entry.mtime_ns, entry.mtime_ns))

    def abort(self) -> None:
        """Whoever has the lock next must not find it under its name."""
        if self._descriptor >= 0:
            with suppress(FileNotFoundError):  # it was renamed
                os.unlink(self._partial)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _partial_beside(path: str) -> str:
    """The same for each restore to that path, and no longer than a name may be."""
    above, name = os.path.split(path)
    encoded = os.fsencode(name)
    if len(encoded) > _LONG_NAME_BYTES:
        name = f".{sha256(encoded).hexdigest()[:32]}"
    return os.path.join(above, f"{name}.drctl-partial")


def _moved_away(path: str, parts: list[str]) -> str:
    """The commands that keep together what belongs together."""
    moves = [("mv", part, f"{path}.before{part[len(path) :]}") for part in parts]
    return "; ".join(shlex.join(move) for move in moves)


def _refused(path: str, error: OSError) -> TargetRefused:
    return TargetRefused(
        f"{path}: cannot be written: {reason(error)}",
        hint="mend it or name another target, and restore again; the repository is unharmed",
    )
