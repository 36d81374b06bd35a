"""Is what stands there what the snapshot holds? Compared entry by entry with its manifest.

Content is compared with the names of its blobs, which are keyed digests, so nothing is read from
the repository but the entries themselves.
"""

import errno
import os
import stat
from contextlib import nullcontext

from msgspec import Struct, field

from drctl.codec.entries import Root
from drctl.engines.tree_look import address_below
from drctl.engines.tree_read import things_in
from drctl.errors import IntegrityError
from drctl.model import Entry, Kind
from drctl.repository.reader import Reader
from drctl.units import count, show_path

_MOST_TOLD = 3
_PIECE_BYTES = 1 << 20
_FORMATS = {
    Kind.FILE: stat.S_IFREG,
    Kind.HARDLINK: stat.S_IFREG,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.FIFO: stat.S_IFIFO,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.SOCKET: stat.S_IFSOCK,
}


class NotSaved(Struct):
    """Entries that the snapshot says itself it does not hold, and further links to them: they
    cannot come back, so they are not due. `first` holds the first few, `paths` all of them."""

    paths: set[bytes] = field(default_factory=set)
    first: list[str] = field(default_factory=list)

    def takes(self, entry: Entry) -> bool:
        """Whether this is one of them; it is remembered."""
        is_lost = entry.kind == Kind.FILE and bool(entry.problem) and not entry.blobs
        if not is_lost and not (entry.kind == Kind.HARDLINK and entry.link in self.paths):
            return False
        self.paths.add(entry.path)
        if len(self.first) < _MOST_TOLD:
            self.first.append(show_path(entry.path))
        return True

    def tell(self) -> str:
        """Empty: there are none."""
        if not self.paths:
            return ""
        were = count(len(self.paths), "entry was", "entries were")
        more = " and others" if len(self.paths) > len(self.first) else ""
        return f"{were} not saved: {', '.join(self.first)}{more}"


class Compared(Struct):
    """`differences` holds the first few, `different` counts all of them."""

    entries: int = 0
    size_bytes: int = 0
    different: int = 0
    differences: list[str] = field(default_factory=list)
    not_saved: NotSaved = field(default_factory=NotSaved)

    def add(self, text: str) -> None:
        self.different += 1
        if len(self.differences) < _MOST_TOLD:
            self.differences.append(text)

    def tell(self) -> str:
        entries = count(self.entries, "entry", "entries")
        if not self.different:
            same = f"{entries} as in the manifest, content and all"
            return "; ".join(filter(None, (same, self.not_saved.tell())))
        return f"{self.different} differ: {'; '.join(self.differences)}"


def counts_due(reader: Reader, root: Root) -> tuple[dict[str, int], NotSaved]:
    """What a tree of these entries holds, counted as a probe counts it, and what is left out."""
    not_saved = NotSaved()
    entries = size_bytes = 0
    sizes: dict[bytes, int] = {}
    for entry in reader.entries(root):
        if not_saved.takes(entry):
            continue
        entries += entry.path != b"."
        if entry.kind == Kind.FILE:
            sizes[entry.path] = entry.size
        elif entry.kind == Kind.SYMLINK:
            sizes[entry.path] = len(entry.link)
        size_bytes += sizes.get(entry.link if entry.kind == Kind.HARDLINK else entry.path, 0)
    return {"entries": entries, "bytes": size_bytes}, not_saved


def compare_manifest(reader: Reader, root: Root, at: str) -> Compared:
    """Every entry with what stands at `at`, and nothing else beside them."""
    found = Compared()
    top = os.fsencode(at)
    is_one_file = os.path.isfile(top) and not os.path.islink(top)
    for entry in reader.entries(root):
        if found.not_saved.takes(entry):
            continue
        found.entries += 1
        is_top = is_one_file or entry.path == b"."
        difference = _difference(reader, entry, top, b"" if is_top else entry.path)
        if difference:
            found.add(f"{show_path(entry.path)}: {difference}")
    there = 1 if is_one_file else sum(1 for _ in things_in(top))
    due = found.entries - (not is_one_file and _has_top(reader, root))
    if there > due:
        found.add(f"{there - due} more than the manifest holds")
    return found


def _has_top(reader: Reader, root: Root) -> bool:
    return any(entry.path == b"." for entry in reader.entries(root, [b"."]))


def _difference(reader: Reader, entry: Entry, top: bytes, path: bytes) -> str:
    """How one entry differs; empty: not at all."""
    try:
        with address_below(top, path) if path else nullcontext(top) as address:
            if entry.kind == Kind.HARDLINK:
                return _link_difference(top, entry, address)
            return _difference_at(reader, entry, address)
    except OSError as error:
        return f"it is not there ({error.strerror})"


def _link_difference(top: bytes, entry: Entry, path: bytes) -> str:
    """A further name of a file is that very file. Raises OSError when one of both is not there."""
    with address_below(top, entry.link) as first:
        is_same = os.path.samestat(os.lstat(path), os.lstat(first))
    return "" if is_same else f"it is not the same file as {show_path(entry.link)}"


def _difference_at(reader: Reader, entry: Entry, path: bytes) -> str:
    """Raises OSError when nothing is there."""
    there = os.lstat(path)
    kind = Kind(entry.kind)
    if stat.S_IFMT(there.st_mode) != _FORMATS[kind]:
        return "it is of another kind"
    if kind == Kind.SYMLINK:
        return "" if os.readlink(path) == entry.link else "it leads elsewhere"
    if kind == Kind.FILE:
        return _metadata(entry, there) or _content(reader, entry, path, there.st_size)
    return _metadata(entry, there)


def _metadata(entry: Entry, there: os.stat_result) -> str:
    if stat.S_IMODE(there.st_mode) != entry.mode:
        return f"its mode is {stat.S_IMODE(there.st_mode):o}, {entry.mode:o} is due"
    if there.st_mtime_ns != entry.mtime_ns:
        return "its time is another"
    return ""


def _content(reader: Reader, entry: Entry, path: bytes, size_bytes: int) -> str:
    if entry.problem:
        return ""  # the snapshot says itself that it does not hold this one whole
    if size_bytes != entry.size:
        return f"it has {size_bytes} bytes, {entry.size} are due"
    try:
        with open(path, "rb", buffering=0) as file:
            return "" if _is_same(reader, entry, file.fileno()) else "its content is another"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except IntegrityError as error:
        return error.what


def _is_same(reader: Reader, entry: Entry, descriptor: int) -> bool:
    blob_id_of = reader.repository.secrets.blob_id
    data = _Data(descriptor, entry)
    return all(
        blob_id_of(data.read(reader.blob_bytes(leaf))) == leaf for leaf in reader.leaves(entry)
    ) and not (data.read(1) or data.is_anything_beside())


class _Data:
    """The content as it was stored: of a sparse file its ranges of data, end to end."""

    def __init__(self, descriptor: int, entry: Entry) -> None:
        ranges = entry.extents or (0, entry.size)
        self._ranges = list(zip(ranges[::2], ranges[1::2], strict=True))
        self._left = list(self._ranges)
        self._descriptor = descriptor
        self._size = entry.size

    def read(self, size: int) -> bytes:
        """So many bytes, or what is left."""
        pieces: list[bytes] = []
        while size and self._left:
            offset, length = self._left[0]
            piece = os.pread(self._descriptor, min(size, length), offset)
            pieces.append(piece)
            size -= len(piece)
            rest = (offset + len(piece), length - len(piece))
            self._left[:1] = [rest] if rest[1] and piece else []
        return b"".join(pieces)

    def is_anything_beside(self) -> bool:
        """Whether there is more than zeros where the stored file had holes."""
        ends = [0, *(offset + length for offset, length in self._ranges)]
        begins = [*(offset for offset, _ in self._ranges), self._size]
        return any(map(self._holds_anything, ends, begins))

    def _holds_anything(self, at: int, end: int) -> bool:
        """What the file system keeps as a hole is not read."""
        while at < end:
            try:
                at = os.lseek(self._descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return False  # nothing but a hole up to its end
                raise
            piece = os.pread(self._descriptor, max(min(end - at, _PIECE_BYTES), 0), at)
            if piece.count(0) != len(piece):
                return True
            at = at + len(piece) if piece else end
        return False
