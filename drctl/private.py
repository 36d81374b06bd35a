"""What is nobody else's: directories and files of their owner, variables of drctl itself."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import AnyStr

from drctl.durable import sync_directory

_PASSING = "drctl-run-"
_OURS = ".drctl-run"  # a file in each of these: one of a like name is somebody else's

# Variables that hold passphrases: no child of drctl ever gets them.
PASSPHRASE = "DRCTL_PASSPHRASE"  # noqa: S105 - the variable's name
PASSPHRASES = frozenset({PASSPHRASE, "DRCTL_NEW_PASSPHRASE"})


def variables(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of variables that a program may get. Raises ValueError for a passphrase's."""
    for name in names:
        if name in PASSPHRASES:
            raise ValueError(f"{name} is for drctl alone: whoever has it reads all backups")
    return names


def make_directory(path: str) -> None:
    """Make a directory, and what is missing above it. One that is there stays as it is.
    Raises OSError."""
    above = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(above):
        make_directory(above)
    with suppress(FileExistsError):
        os.mkdir(path, mode=0o700)


def make_above(path: AnyStr) -> None:
    """Make what is missing above a place that is restored to. Whatever the umask, others may pass
    through and not look around: a database's user must get to its files, also where another asset
    was restored beside it first. Raises OSError."""
    above = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(above):
        return
    make_above(above)
    with suppress(FileExistsError):
        os.mkdir(above)
        os.chmod(above, 0o711)  # noqa: S103 - to pass through, not to look around


def write_new(path: str, text: str) -> None:
    """Write a file that is not there yet; it is on the disk when this returns. One that cannot be
    written whole is not there afterwards. Raises OSError."""
    above = os.path.dirname(os.path.abspath(path))
    make_directory(above)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(path)
        raise
    sync_directory(above)


def replace(path: str, text: str) -> None:
    """Give a file other content: readers see the old or the new, also after a crash. Raises
    OSError."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)  # a killed run left it
    write_new(new, text)
    os.replace(new, path)
    sync_directory(os.path.dirname(os.path.abspath(path)))


@contextmanager
def passing_directory() -> Iterator[str]:
    """A directory that is gone when the block ends. Its path is short, as a Unix socket needs it;
    so it lies among everybody's, and `sweep_passing` knows by a lock that is not held that its
    process was killed."""
    lock = None
    while lock is None:  # an older drctl's sweep may come between the two
        path = tempfile.mkdtemp(prefix=_PASSING)
        lock = _locked(path)
    try:
        _mark_as_ours(path)
        yield path
    finally:
        _remove(path)
        os.close(lock)


def _mark_as_ours(path: str) -> None:
    os.close(os.open(os.path.join(path, _OURS), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _remove(path: str) -> None:
    """The mark goes last: it tells whoever finds the rest of a removal that was killed."""
    with suppress(OSError):
        for name in set(os.listdir(path)) - {_OURS}:
            part = os.path.join(path, name)
            if os.path.isdir(part) and not os.path.islink(part):
                shutil.rmtree(part, ignore_errors=True)
            else:
                os.unlink(part)
    shutil.rmtree(path, ignore_errors=True)


def sweep_passing() -> None:
    """Remove what killed processes left of these, and nothing that only bears such a name. Where no
    such directory can be had, since every disk for it is full, that is no reason to do nothing
    else."""
    try:
        top = tempfile.gettempdir()
        names = os.listdir(top)
    except OSError:
        return
    for name in names:
        path = os.path.join(top, name)
        if name.startswith(_PASSING) and (lock := _locked(path)) is not None:
            if os.path.lexists(os.path.join(path, _OURS)):
                _remove(path)
            os.close(lock)


def _locked(path: str) -> int | None:
    """None: somebody else has it, it is another user's, or it has gone."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):
        descriptor = os.open(path, flags)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    return None
