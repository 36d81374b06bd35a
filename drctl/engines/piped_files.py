"""Files out of a stream in which their parts take turns, each of them read once."""

import os
from collections import deque
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO

from msgspec.structs import replace

from drctl.codec.limits import SMALL_BYTES
from drctl.engines.mariadb_looked import block_bytes
from drctl.engines.tree_look import reason
from drctl.engines.xbstream import Part
from drctl.errors import SourceError
from drctl.model import Entry

_ASIDE_BYTES = 8 << 20  # of one file that waits, in memory; more of it on the disk
_PIECE_BYTES = 1 << 20
_REDO_LOG = b"ib_logfile0"


class Files:
    """Files out of parts that take turns, each once and read before the next. One that is large is
    read while it comes, and what comes of others meanwhile waits. Raises SourceError."""

    def __init__(self, received: Iterator[Part], scratch: str) -> None:
        self._received = received
        self._scratch = scratch
        self._waiting: dict[bytes, File] = {}
        self._whole: deque[File] = deque()

    def __iter__(self) -> Iterator["File"]:
        while True:
            while self._whole:
                yield self._whole.popleft()
            part = next(self._received, None)
            if part is None:
                break
            file = self.take(part)
            if file.is_to_be_read_now:
                del self._waiting[file.path]
                yield file
        if self._waiting:
            raise cut_short(next(iter(self._waiting)))

    def take(self, part: Part) -> "File":
        """A part of a file that nobody reads yet."""
        file = self._waiting.get(part.path)
        if file is None:
            file = self._waiting[part.path] = File(part.path, self, self._scratch)
        if file.ends_with(part):
            self._whole.append(self._waiting.pop(part.path))
        elif part.data is not None:
            file.keep(part.data)
        return file

    def rest_of(self, file: "File") -> Iterator[memoryview]:
        """What is still to come of a file that is being read."""
        for part in self._received:
            if part.path != file.path:
                self.take(part)
            elif file.ends_with(part):
                return
            elif part.data is not None:
                yield part.data
        raise cut_short(file.path)


def cut_short(path: bytes) -> SourceError:
    """A file whose end did not come."""
    return SourceError(
        f"mariadb-backup's stream ended before {os.fsdecode(path)} was whole",
        hint="nothing was kept; run it again, or set 'mode: copy'",
    )


class File:
    """One file of a stream; see engines.base.Content."""

    def __init__(self, path: bytes, files: Files, scratch: str) -> None:
        self.path = path
        self.block_bytes = block_bytes(path)
        self._files = files
        self._scratch = scratch
        self._size = 0
        self._is_whole = False
        self._aside: IO[bytes] = SpooledTemporaryFile(_ASIDE_BYTES, dir=scratch)  # noqa: SIM115

    @property
    def size_hint(self) -> int:
        return self._size if self._is_whole else -1

    @property
    def is_to_be_read_now(self) -> bool:
        """The redo log grows as long as anything is copied."""
        return self._size > SMALL_BYTES and not self._is_whole and self.path != _REDO_LOG

    def ends_with(self, part: Part) -> bool:
        """Count it in. Raises SourceError for one that is out of order."""
        if part.data is None:
            self._is_whole = True
        elif part.offset != self._size:
            raise SourceError(f"mariadb-backup's stream leaves out a part of {self.path!r}")
        else:
            self._size += len(part.data)
        return self._is_whole

    def keep(self, data: memoryview) -> None:
        """Until it is asked for. Raises SourceError."""
        try:
            self._aside.write(data)
        except OSError as error:
            raise SourceError(
                f"{self._scratch}: {reason(error)}: the redo log of the backup waits there",
                hint="make room there, or point DRCTL_STATE_DIR to a larger disk",
            ) from error

    def whole(self) -> bytes:
        """The content of a whole file, which can still be read after this."""
        self._aside.seek(0)
        return self._aside.read()

    def pieces(self) -> Iterator[bytes | memoryview]:
        self._aside.seek(0)
        while piece := self._aside.read(_PIECE_BYTES):
            yield piece
        self._aside.close()
        if not self._is_whole:
            yield from self._files.rest_of(self)

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        return entry, b"".join(self.pieces())

    def stream(self, entry: Entry) -> "_Stream":
        return _Stream(self, entry)


class _Stream:
    """See engines.base.Stream."""

    def __init__(self, file: File, entry: Entry) -> None:
        self._file = file
        self.entry = entry

    def __iter__(self) -> Iterator[bytes | memoryview]:
        yield from self._file.pieces()
        self.entry = replace(self.entry, size=self._file.size_hint)
