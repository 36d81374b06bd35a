"""Ranges of packs that were fetched, put aside for whoever needs them again.

Content that a backup found again lies where it was first stored, so a restore comes back to packs
that it read long before. From a distant storage that is dear. So ranges are kept on this host's
disk, sealed as they came, in files without names, which end with the process, however that ends.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryFile

from drctl.private import make_directory

_MEMORY_BYTES = 40 << 20
_DISK_BYTES = 512 << 20
_SHARE = 4  # one part in so many of the room that is left, which the restore itself may need

Held = Callable[[int, int], bytes | memoryview]  # gives a part: offset, length


class Aside:
    """Keeps in memory where there is no directory, or nothing can be written there."""

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        if directory is not None:
            with suppress(OSError):  # it is told when a range is to be kept
                make_directory(directory)

    @property
    def is_on_disk(self) -> bool:
        return self._directory is not None

    def most_bytes(self) -> int:
        """How much may be kept now."""
        if self._directory is None:
            return _MEMORY_BYTES
        try:
            found = os.statvfs(self._directory)
        except OSError:
            return 0
        return min(_DISK_BYTES, found.f_bavail * found.f_frsize // _SHARE)

    def keep(self, data: bytes) -> Held:
        """From many threads. What is kept goes when nobody holds it any more."""
        if self._directory is not None:
            try:
                return _in_file(self._directory, data)
            except OSError:  # no room, no rights: it goes on without
                self._directory = None
        whole = memoryview(data)
        return lambda offset, length: whole[offset : offset + length]


def _in_file(directory: str, data: bytes) -> Held:
    file = TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 - closed with its last reader
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return lambda offset, length: os.pread(file.fileno(), length, offset)
