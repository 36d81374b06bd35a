"""Taking a directory away with all that is in it, however deep: no path in it is named whole.

What lies deeper is first moved up beside the rest, so that nothing is more than one name below the
top. No symbolic link is followed, and no other file system that is mounted there is entered.
"""

import errno
import os
import stat
from contextlib import suppress
from itertools import count as counted

from drctl.units import count, show_path

_ENTER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_LETTERS = 120  # of a path that is told: its end


def remove_all(path: str) -> str:
    """Remove a directory. What could not be removed is told, with why; empty: nothing is left."""
    try:
        top = _open(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} could not be removed: {error.strerror}"
    try:
        removal = _Removal(top)
        removal.run()
    finally:
        os.close(top)
    with suppress(OSError):  # what is in it was told
        os.rmdir(path)
    if not os.path.lexists(path):
        return ""
    return f"{path} could not be removed: {removal.why or 'it is in use'}"


class _Removal:
    """One run of it, below an open directory."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._device = os.fstat(top).st_dev
        self._numbers = counted(1)
        self._came_from: dict[bytes, bytes] = {}  # what was moved up
        self._stuck: set[bytes] = set()
        self._first = ""
        self._withstood = 0

    @property
    def why(self) -> str:
        more = self._withstood - 1
        return (
            f"{self._first}; and {count(more, 'thing', 'things')} more" if more > 0 else self._first
        )

    def run(self) -> None:
        """Each round meets what the one before moved up."""
        while names := {os.fsencode(name) for name in os.listdir(self._top)} - self._stuck:
            for name in names:
                self._take(name)

    def _take(self, name: bytes) -> None:
        path = self._came_from.pop(name, name)
        try:
            if not _unlinked(self._top, name):
                self._empty(name, path)
                os.rmdir(name, dir_fd=self._top)
        except OSError as error:
            self._stuck.add(name)
            if error.errno != errno.ENOTEMPTY:  # what is in it was told
                self._tell(path, error)

    def _empty(self, name: bytes, path: bytes) -> None:
        inner = _open(name, self._top)
        try:
            if os.fstat(inner).st_dev != self._device:
                raise OSError(errno.EXDEV, "another file system is mounted there")
            for found in map(os.fsencode, os.listdir(inner)):
                below = path + b"/" + found
                try:
                    if not _unlinked(inner, found):
                        self._move_up(inner, found, below)
                except OSError as error:
                    self._tell(below, error)
        finally:
            os.close(inner)

    def _move_up(self, inner: int, name: bytes, path: bytes) -> None:
        os.close(_open(name, inner))  # what is moved must be open to writing
        new = next(n for i in self._numbers if not _is_there(self._top, n := b"removed-%d" % i))
        os.rename(name, new, src_dir_fd=inner, dst_dir_fd=self._top)
        self._came_from[new] = path

    def _tell(self, path: bytes, error: OSError) -> None:
        self._withstood += 1
        shown = show_path(path)
        if len(shown) > _MOST_LETTERS:
            shown = f"…{shown[-_MOST_LETTERS:]}"
        self._first = self._first or f"{shown}: {error.strerror}"


def _open(name: str | bytes, above: int | None = None) -> int:
    """A directory, open for listing, and its owner may do everything in it. Raises OSError."""
    found = os.open(name, _ENTER, dir_fd=above)
    try:
        mode = stat.S_IMODE(os.fstat(found).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            with suppress(OSError):  # if it matters, the next step says so
                os.chmod(f"/proc/self/fd/{found}", mode | stat.S_IRWXU)
        return os.open(f"/proc/self/fd/{found}", _LIST)
    finally:
        os.close(found)


def _unlinked(above: int, name: bytes) -> bool:
    """False: it is a directory."""
    try:
        os.unlink(name, dir_fd=above)
    except IsADirectoryError:
        return False
    return True


def _is_there(above: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
