"""The mark of a restore that is under way, in its target: what bears it is not whole.

It goes when all else is on the disk. So whoever finds it knows what lies there: the leftovers of a
restore that was interrupted, or, while somebody holds its lock, one that still runs.
"""

import ctypes
import fcntl
import os
import shlex
from contextlib import suppress

from drctl.durable import sync_names
from drctl.errors import Busy, SourceError, TargetRefused
from drctl.units import show_path

MARK = b".drctl-restore-unfinished"
_MAKE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Unfinished:
    """The mark in one target. Nobody needs to take it back when a restore fails: it is true."""

    def __init__(self, root: int) -> None:
        """Set it, in an open directory. Raises OSError."""
        self._root = root
        self._descriptor = os.open(MARK, _MAKE, 0o600, dir_fd=root)
        with suppress(OSError):  # a file system without locks; the mark alone says nearly all
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def apart(self) -> "Unfinished":
        """With a descriptor of the directory of its own. Raises OSError."""
        self._root = os.dup(self._root)
        return self

    def settle(self, *, whole: bool) -> None:
        """The end of one that is apart. What is whole is on the disk first, and bears no mark.
        Raises OSError."""
        try:
            if whole:
                sync_file_system(self._root)
                self.take_back()
                sync_names(self._root)
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            os.close(self._root)

    def take_back(self) -> None:
        """It is whole, or an entry of the snapshot has that very name. Raises OSError."""
        if self._descriptor >= 0:
            os.unlink(MARK, dir_fd=self._root)
            os.close(self._descriptor)
            self._descriptor = -1


def refuse_what_is_there(root: int, shown: str) -> None:
    """Nothing is restored into a directory that holds anything. Raises TargetRefused, Busy,
    OSError."""
    names = os.listdir(root)
    if os.fsdecode(MARK) in names:
        _refuse_unfinished(root, shown)
    if names:
        raise TargetRefused(
            f"{shown} is not empty: nothing was restored",
            hint="name a directory that is empty, or does not exist yet",
        )


def _refuse_unfinished(root: int, shown: str) -> None:
    descriptor = os.open(MARK, _LOOK, dir_fd=root)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Busy(
            f"{shown}: another drctl restores there right now: nothing was restored",
            hint="wait for it, or name another directory",
        ) from error
    except OSError:
        pass  # a file system without locks: nobody can tell
    finally:
        os.close(descriptor)
    raise TargetRefused(
        f"{shown} holds what a restore left that was interrupted: nothing was restored",
        hint=f"it is not whole and can go: rm -r {shlex.quote(shown)}, then restore again",
    )


def refuse_to_save(asset: str, path: bytes) -> None:
    """What bears the mark, or lies below what does, is half of what it was: saved, it would pass
    for all of it. Raises SourceError, Busy."""
    place = os.path.realpath(path)
    while not os.path.lexists(os.path.join(place, MARK)):
        above = os.path.dirname(place)
        if above == place:
            return
        place = above
    shown = show_path(place)
    if _is_under_way(place):
        raise Busy(
            f"{asset}: a restore to {shown} is running: nothing was saved",
            hint="back up when it has ended",
        )
    mark = shlex.quote(os.fsdecode(os.path.join(place, MARK)))
    raise SourceError(
        f"{asset}: {shown} holds what a restore left that was interrupted: nothing was saved",
        hint="it is not whole: move it away, and restore again; where all is as it should be all "
        f"the same: rm {mark}",
    )


def _is_under_way(place: bytes) -> bool:
    try:
        descriptor = os.open(os.path.join(place, MARK), _LOOK)
    except OSError:
        return False  # nobody can tell
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False


def sync_file_system(descriptor: int) -> None:
    """Everything written to its file system is on the disk, or the system's error is raised: one
    barrier instead of one a file."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
