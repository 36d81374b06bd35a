"""What must be there after a power loss."""

import errno
import os

_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


def sync_directory(path: str) -> None:
    """Make the names in a directory survive: that a file's content was synced says nothing of its
    name. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_names(descriptor)
    finally:
        os.close(descriptor)


def sync_names(descriptor: int) -> None:
    """The same of an open directory. Where directories cannot be synced, as on some network and
    shared folders, whoever serves them sees to it. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
