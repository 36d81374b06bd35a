"""What must be there after a power loss."""

import os


def sync_directory(path: str) -> None:
    """Make the names in a directory survive: that a file's content was synced says nothing of its
    name. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
