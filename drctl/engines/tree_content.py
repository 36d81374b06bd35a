"""The content of a file in a tree: read whole and unchanged, or told that it was not."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from msgspec.structs import replace

from drctl.codec.limits import SMALL_BYTES
from drctl.engines.base import Outgrown
from drctl.engines.tree_look import (
    Links,
    Place,
    identity,
    is_same,
    is_sparse,
    open_again,
    open_quietly,
    read_xattrs,
    reason,
    to_entry,
)
from drctl.model import Entry

_PIECE_BYTES = 8 << 20  # a window of the chunker's, which then joins none
_UNSIZED_BYTES = 64 << 10  # read at once of what says that it is empty
_MOST_EXTENTS = 4096  # a file in more pieces is stored with its holes as zeros

CHANGED = "it was changed while it was read"
CUT = "it was cut while it was read"
REPLACED = "it was replaced by something else while it was read"
UNSIZED = f"its size is given as 0: only its first {SMALL_BYTES} bytes were read"
VANISHED = "it vanished before it was read"


class FileContent:
    """The bytes of a file that the walk found; see engines.base.Content. `links`: where it is known
    as the first name of a file that has several."""

    __slots__ = ("_found", "_links", "_place", "size_hint")
    block_bytes = 0

    def __init__(self, place: Place, found: os.stat_result, links: Links | None = None) -> None:
        self._place = place
        self._found = found
        self._links = links
        self.size_hint: int = found.st_size

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        """Open, read, look whether it is still what the walk found, list its attributes, close:
        the five system calls that each small file costs. A changed file is read once more."""
        found = self._found
        try:
            descriptor = open_quietly(self._place.address)
        except OSError as error:
            return self._unread(entry, error), b""
        try:
            if not found.st_size:
                return self._load_unsized(descriptor, entry)
            if not is_sparse(found):
                data = os.read(descriptor, found.st_size + 1)
                if len(data) == found.st_size and is_same(found, os.fstat(descriptor)):
                    xattrs = read_xattrs(descriptor)
                    return (replace(entry, xattrs=xattrs) if xattrs else entry), data
            return self._load_anew(descriptor, entry)
        except OSError as error:
            return self._unread(entry, error), b""
        finally:
            os.close(descriptor)

    def _load_unsized(self, descriptor: int, entry: Entry) -> tuple[Entry, bytes]:
        """Most are empty. What is not, and goes on saying so, is the kernel's or a program's, and
        may never end."""
        data = bytearray()
        while len(data) <= SMALL_BYTES and (piece := os.read(descriptor, _UNSIZED_BYTES)):
            data += piece
        now = os.fstat(descriptor)
        if now.st_size or identity(now) != identity(self._found):
            return self._load_anew(descriptor, entry)
        kept = bytes(data[:SMALL_BYTES])
        problem = UNSIZED if len(data) > SMALL_BYTES else ""
        xattrs = read_xattrs(descriptor)
        return replace(entry, xattrs=xattrs, size=len(kept), problem=problem), kept

    def _load_anew(self, descriptor: int, entry: Entry) -> tuple[Entry, bytes]:
        """The file as it is now, whatever was found; twice when it changes under our hands. Raises
        Outgrown."""
        for _ in range(2):
            stream = self._open_stream(descriptor, entry)
            if stream.entry.size > SMALL_BYTES:
                raise Outgrown
            data = b"".join(stream)
            if not stream.entry.problem:
                break
        return stream.entry, data

    def stream(self, entry: Entry) -> "LargeFile":
        return LargeFile(self, entry)

    def pieces(self, entry: Entry) -> Iterator["FileStream"]:
        """The one stream of a file that is held open meanwhile. Raises OSError."""
        descriptor = open_quietly(self._place.address)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            yield self._open_stream(descriptor, entry)
        finally:
            os.close(descriptor)

    def _open_stream(self, descriptor: int, entry: Entry) -> "FileStream":
        """What is open now, from its beginning. `descriptor` comes to stand for another file where
        the one that was found was replaced. Raises OSError."""
        found = os.fstat(descriptor)
        if identity(found) != identity(self._found):
            self._forget()
            again = open_again(self._place)
            os.dup2(again, descriptor, inheritable=False)
            os.close(again)
            found = os.fstat(descriptor)
        elif found.st_nlink == 1:
            self._forget()  # the other names lead elsewhere, or the number is a new file's
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ESTALE, REPLACED)
        return FileStream(descriptor, to_entry(entry.path, found, read_xattrs(descriptor)), found)

    def why_not(self, error: OSError) -> str:
        """Why it could not be read, as its entry tells it."""
        if (why := unreadable(error)) in (VANISHED, REPLACED):
            self._forget()
        return why

    def _forget(self) -> None:
        """What was found is not read under this name: another name of it is read itself."""
        if self._links is not None:
            self._links.pop(identity(self._found), None)

    def _unread(self, entry: Entry, error: OSError) -> Entry:
        """An entry without content. What else it has is kept where it can be learnt."""
        why = self.why_not(error)
        with suppress(OSError):
            entry = replace(entry, xattrs=read_xattrs(self._place.address))
            if not self._found.st_size and isinstance(error, PermissionError):
                return entry  # by all that is known it is empty: nothing of it is lost
        return replace(entry, size=0, problem=why)


def unreadable(error: OSError) -> str:
    """Why a file could not be read, as its entry tells it."""
    if isinstance(error, FileNotFoundError):
        return VANISHED
    if error.errno in (errno.ELOOP, errno.ESTALE, errno.ENXIO, errno.ENOTDIR):
        return REPLACED
    return f"it cannot be read: {reason(error)}"


class FileStream:
    """An open file in pieces, its data without its holes; see engines.base.Stream. It ends where
    the file ended when it was opened, however fast somebody goes on writing."""

    def __init__(self, descriptor: int, entry: Entry, before: os.stat_result) -> None:
        self._descriptor = descriptor
        self._before = before
        self._flat: tuple[int, ...] = ()  # its extents, one after the other
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        extents = _extents(self._descriptor, self._before)
        self._flat = tuple(number for pair in extents or () for number in pair)
        got = due = 0
        for offset, length in extents or [(0, self._before.st_size)]:
            due += length
            for piece in self._range(offset, length):
                got += len(piece)
                yield piece
            if got < due:
                self.entry = self.beginning(got, CUT)
                return
        self._conclude()

    def _range(self, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            piece = os.pread(self._descriptor, min(_PIECE_BYTES, end - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece

    def _conclude(self) -> None:
        """What was read is what the entry says, also where the file was changed meanwhile."""
        is_still = is_same(self._before, os.fstat(self._descriptor))
        problem = "" if is_still else CHANGED
        self.entry = replace(self.entry, extents=self._flat, problem=problem)

    def beginning(self, got: int, why: str) -> Entry:
        """The entry where so many bytes of it were read: each where it was, among the holes."""
        kept: list[int] = []
        left = got
        for offset, length in zip(self._flat[::2], self._flat[1::2], strict=True):
            if left:
                kept += [offset, min(left, length)]
                left -= kept[-1]
        size = sum(kept[-2:]) if kept else got
        return replace(self.entry, size=size, extents=tuple(kept), problem=why)


class LargeFile:
    """A file that is opened when its first piece is asked for; see engines.base.Stream."""

    def __init__(self, content: FileContent, entry: Entry) -> None:
        self._content = content
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        got, opened = 0, None
        try:
            for opened in self._content.pieces(self.entry):
                for piece in opened:
                    got += len(piece)
                    yield piece
                self.entry = opened.entry
        except OSError as error:
            why = self._content.why_not(error)
            self.entry = replace(self.entry, size=0, problem=why)
            if opened and got:
                self.entry = opened.beginning(got, f"only {got} bytes of it: {reason(error)}")


def _extents(descriptor: int, found: os.stat_result) -> list[tuple[int, int]] | None:
    """(offset, length) of each run of data of a sparse file; None when it has no holes, or its
    file system does not tell."""
    if not is_sparse(found):
        return None
    extents: list[tuple[int, int]] = []
    at, size = 0, found.st_size
    while at < size and len(extents) <= _MOST_EXTENTS:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # a hole up to the end
            return None
        if start >= size:
            break  # what was added meanwhile
        at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        extents.append((start, at - start))
    if len(extents) > _MOST_EXTENTS or extents == [(0, size)]:
        return None
    return extents or [(0, 0)]
