"""Directories and files that only their owner may enter or read."""

import os
from contextlib import suppress


def make_directory(path: str) -> None:
    """Make a directory, and what is missing above it. One that is there stays as it is.
    Raises OSError."""
    above = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(above):
        make_directory(above)
    with suppress(FileExistsError):
        os.mkdir(path, mode=0o700)


def write_new(path: str, text: str) -> None:
    """Write a file that is not there yet; it is on the disk when this returns. Raises OSError."""
    make_directory(os.path.dirname(os.path.abspath(path)))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def replace(path: str, text: str) -> None:
    """Give a file other content: readers see the old or the new, also after a crash. Raises
    OSError."""
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)  # a killed run left it
    write_new(new, text)
    os.replace(new, path)
    directory = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
