"""A directory as storage. A put is: a temporary file, its data on the disk, its name, the name on
the disk. A crash in between leaves a temporary file, which listings do not show."""

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from drctl.durable import sync_directory
from drctl.errors import AlreadyExists, NotFound, StorageError, Unreadable
from drctl.private import make_directory
from drctl.storage.base import Buffer, ObjectInfo
from drctl.storage.direct import write_past_cache

_TEMPORARY = "tmp"
_NOT_OURS = frozenset({f"{_TEMPORARY}/", "lost+found/"})  # at the top; the second is the disk's
_FOLDER_TRIES = 20
_STALE_SECONDS = 24 * 3600  # no put takes so long: what is older was left by a killed run
_MEDIUM = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})  # of one file, not of the disk
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_GONE = (errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT)
_HINTS = {
    errno.ENOSPC: "the disk is full: make room there; nothing that was committed is lost",
    errno.EDQUOT: "the quota is used up: raise it or make room; nothing committed is lost",
    errno.EROFS: "the file system is mounted read-only",
    errno.EACCES: "run as the user who owns the repository, or mend its permissions",
    errno.EPERM: "run as the user who owns the repository, or mend its permissions",
    errno.EIO: "the disk reports errors: look at the kernel's log, and at its health",
    errno.EBUSY: "something has it open there, such as a virus scanner: run this again",
    **dict.fromkeys(_GONE, "the network file system went away: mount it again"),
}


class Local:
    """Objects are files below `path`; all of it is private to its owner."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._made: set[str] = set()
        self._identity: tuple[int, int] | None = None  # of the directory, once it was seen
        self._counter = 0
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        return self._path

    def create(self) -> None:
        """Make the directory. That it is there already is success: whose it is may not be allowed
        to look at what lies beside it."""
        with self._translated("make the directory"):
            if not os.path.isdir(self._path):
                make_directory(self._path)
                sync_directory(os.path.dirname(self._path))

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        with self._translated(f"write {name}"):
            self._require_directory()
            temporary = self._write_temporary(data)
            try:
                self._give_name(temporary, name, os.rename if replace else _name_new)
            except FileExistsError as error:
                raise AlreadyExists(name, self._path) from error
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)

    def _give_name(self, temporary: str, name: str, give: Callable[[str, str], None]) -> None:
        """Again, when a delete took the empty folder, or one above it, away meanwhile."""
        for _ in range(_FOLDER_TRIES):
            try:
                folder = self._folder(name)
                give(temporary, self._file(name))
            except FileNotFoundError:
                self._made.discard(os.path.dirname(self._file(name)))
            else:
                return sync_directory(folder)
        raise StorageError(f"{self._path}: the folder of {name} goes away again and again")

    def _write_temporary(self, data: Buffer) -> str:
        """A new file that holds the data, on the disk."""
        with self._lock:
            self._counter += 1
            mine = f"{os.getpid()}-{threading.get_ident()}-{self._counter}-{time.time_ns()}"
        path = os.path.join(self._folder(f"{_TEMPORARY}/x"), mine)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with memoryview(data) as view:
                written = write_past_cache(descriptor, view)
                while written < len(view):
                    written += os.write(descriptor, view[written:])
            os.fdatasync(descriptor)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        return path

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._translated(f"read {name}"):
            try:
                descriptor = os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError) as error:
                self._require_directory()
                raise NotFound(name, self._path) from error
            try:
                if not self._identity:
                    self._require_directory()
                return self._range(descriptor, name, offset, length)
            finally:
                os.close(descriptor)

    def _range(self, descriptor: int, name: str, offset: int, length: int | None) -> bytes:
        size = os.fstat(descriptor).st_size
        end = size if length is None else offset + length
        if not 0 <= offset <= end <= size:
            raise Unreadable(f"{self._path}: {name} ends at {size}, before byte {end}")
        try:
            return self._read(descriptor, name, offset, end - offset)
        except OSError as error:
            if error.errno not in _MEDIUM:
                raise
            raise Unreadable(
                f"{self._path}: {name} cannot be read: {error.strerror}", hint=_HINTS[errno.EIO]
            ) from error

    def _read(self, descriptor: int, name: str, offset: int, length: int) -> bytes:
        data = os.pread(descriptor, length, offset)
        if len(data) == length:
            return data
        parts = [data]
        got = len(data)
        while data and got < length:
            data = os.pread(descriptor, length - got, offset + got)
            parts.append(data)
            got += len(data)
        if got < length:
            raise Unreadable(f"{self._path}: {name} became shorter while it was read")
        return b"".join(parts)

    def head(self, name: str) -> ObjectInfo:
        with self._translated(f"look at {name}"):
            try:
                found = os.stat(self._file(name))
            except (FileNotFoundError, NotADirectoryError) as error:
                self._require_directory()
                raise NotFound(name, self._path) from error
            if not stat.S_ISREG(found.st_mode):
                raise NotFound(name, self._path)
            return ObjectInfo(name, found.st_size, found.st_mtime_ns)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._translated("list objects"):
            self._require_directory()
            self._remove_stale()
            yield from self._below("", prefix)

    def _below(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        """In the order of names, so that what is shown is the same each time."""
        try:
            with os.scandir(os.path.join(self._path, folder)) as found:
                entries = [(e.name + "/" * e.is_dir(follow_symlinks=False), e) for e in found]
        except FileNotFoundError:
            return
        for tail, entry in sorted(entries, key=lambda pair: os.fsencode(pair[0])):
            name = folder + tail
            if name in _NOT_OURS or not name.isascii():  # no object is called so
                continue
            if tail.endswith("/"):
                if name.startswith(prefix) or prefix.startswith(name):
                    yield from self._below(name, prefix)
            elif name.startswith(prefix):
                with suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    yield ObjectInfo(name, info.st_size, info.st_mtime_ns)

    def delete(self, name: str) -> None:
        with self._translated(f"delete {name}"):
            path = self._file(name)
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
                self._sync_or_remove(os.path.dirname(path))

    def _sync_or_remove(self, folder: str) -> None:
        """An empty folder goes with its last object, and so do those above it."""
        while folder != self._path:
            try:
                os.rmdir(folder)
            except OSError:  # it is not empty
                break
            self._made.discard(folder)
            folder = os.path.dirname(folder)
        sync_directory(folder)

    def close(self) -> None:
        """Nothing to give back."""

    def _file(self, name: str) -> str:
        """Below the directory, whatever a manifest says that was sealed by a thief."""
        if ".." in name and ".." in name.split("/"):
            raise NotFound(name, self._path)
        return os.path.join(self._path, name)

    def _folder(self, name: str) -> str:
        """The directory of an object, made when missing; the repository's own is not, since a
        missing one is a disk that is not mounted."""
        folder = os.path.dirname(self._file(name))
        if folder not in self._made:
            self._require_directory()
            missing = list(self._missing(folder))
            if missing:
                make_directory(folder)
            for made in missing:
                sync_directory(os.path.dirname(made))
            self._made.add(folder)
        return folder

    def _missing(self, folder: str) -> Iterator[str]:
        """What is not there of a folder and those above it."""
        while folder != self._path and not os.path.isdir(folder):
            yield folder
            folder = os.path.dirname(folder)

    def _require_directory(self) -> None:
        """It is there, and the same as ever. A disk that goes away in the middle of a run uncovers
        the directory that it was mounted on: nothing may be written into that."""
        found: os.stat_result | None = None
        with suppress(FileNotFoundError, NotADirectoryError):
            found = os.stat(self._path)
        if not found or not stat.S_ISDIR(found.st_mode):
            raise StorageError(
                f"{self._path}: the repository's directory is not there",
                hint="is its disk mounted? Is the address right?",
            )
        if self._identity not in (None, (found.st_dev, found.st_ino)):
            raise StorageError(
                f"{self._path}: another directory has taken the repository's place",
                hint="was its disk unmounted? mount it again, and run this again",
            )
        self._identity = found.st_dev, found.st_ino

    def _remove_stale(self) -> None:
        """What a killed run left behind, long before the last file came there or went. All these
        times are of the disk's own clock, which on a file server may be years behind ours."""
        folder = os.path.join(self._path, _TEMPORARY)
        with suppress(FileNotFoundError), os.scandir(folder) as found:
            oldest = os.stat(folder).st_mtime - _STALE_SECONDS
            for entry in found:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        os.unlink(entry.path)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"{self._path}: cannot {doing}: {error.strerror}",
                hint=_HINTS.get(error.errno or 0, ""),
            ) from error


def _name_new(temporary: str, path: str) -> None:
    """Linking never replaces what is there; that it is ours already says a file server whose answer
    was lost, when it is asked again. A file system without hard links leaves an instant between
    looking and renaming; only writers of the same bytes can meet there."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if not os.path.samefile(temporary, path):
            raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "it exists", path) from error
        os.rename(temporary, path)
