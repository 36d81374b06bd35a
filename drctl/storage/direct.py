"""Writing past the page cache. What a backup writes is not read again soon, and must not push out
what production has there; it is cheaper, too."""

import errno
import fcntl
import mmap
import os
import threading

_LEAST_BYTES = 1 << 20  # below, the cache does no harm
_BLOCK_BYTES = 4096
_PIECE_BYTES = 4 << 20
_NOT_HERE = frozenset({errno.EINVAL, errno.ENOTSUP})
_local = threading.local()


def write_past_cache(descriptor: int, view: memoryview) -> int:
    """Write the whole blocks of a large buffer to an empty file. Gives how many bytes were
    written: 0 where the file system has no such way; the rest is for the caller to write as usual.
    Raises OSError."""
    size = len(view) - len(view) % _BLOCK_BYTES
    if size < _LEAST_BYTES:
        return 0
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    written = 0
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        while written < size:
            wanted = min(size - written, _PIECE_BYTES)
            done = _write_piece(descriptor, view[written : written + wanted])
            written += done
            if done < wanted:
                break  # the disk is nearly full: the next usual write says so
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)
    return written


def _write_piece(descriptor: int, piece: memoryview) -> int:
    with memoryview(_aligned()) as aligned, aligned[: len(piece)] as blocks:
        blocks[:] = piece
        return os.write(descriptor, blocks)


def _aligned() -> mmap.mmap:
    """This thread's buffer, which begins at a page."""
    made: mmap.mmap | None = getattr(_local, "made", None)
    if made is None:
        made = _local.made = mmap.mmap(-1, _PIECE_BYTES)
    return made
