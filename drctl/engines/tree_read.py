"""Reading a directory tree: a walk that gives items in order, and the content of its files.

The walk is the busiest loop there is when nothing changed, so an item holds what `lstat` gave and
builds its entry only when somebody asks. Items are used up one after the other: where a path is too
long for the kernel (PATH_MAX), the walk goes on below /proc/self/fd and holds that directory open.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from drctl.engines.patterns import Excluded
from drctl.model import Entry, Kind

_PATH_LIMIT = 3800  # bytes; PATH_MAX is 4096, and a name may add 255
_PIECE_BYTES = 1 << 20
_MOST_EXTENTS = 4096  # a file in more pieces is stored with its holes as zeros
_FRESH_NS = 2_000_000_000
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CACHE_TAG = b"CACHEDIR.TAG"
_SIGNATURE = struct.Struct("<qqQQIII").pack
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFSOCK: Kind.SOCKET,
}


def reason(error: OSError) -> str:
    """Why, in the system's words."""
    return error.strerror or type(error).__name__


class TreeItem:
    """One thing found by the walk; see engines.base.Item. `where` is how to reach it now."""

    __slots__ = ("content", "found", "link", "path", "problem", "signature", "where")

    def __init__(
        self, path: bytes, where: bytes, found: os.stat_result, signature: bytes, link: bytes
    ) -> None:
        self.path = path
        self.where = where
        self.found = found
        self.signature = signature
        self.link = link
        self.problem = ""
        is_file = found.st_mode & 0o170000 == 0o100000
        self.content = FileContent(self) if is_file and found.st_size and not link else None

    def entry(self) -> Entry:
        """Metadata as `lstat` gave it, with extended attributes and a link's target."""
        problem = self.problem
        if self.link:
            return _entry(self.path, self.found, (), self.link, hardlink=True)
        try:
            xattrs = _xattrs(self.where)
        except OSError as error:
            xattrs = ()
            problem = problem or f"its attributes cannot be read: {reason(error)}"
        link = b""
        if stat.S_ISLNK(self.found.st_mode):
            try:
                link = os.readlink(self.where)
            except OSError as error:
                problem = problem or f"the link cannot be read: {reason(error)}"
        entry = _entry(self.path, self.found, xattrs, link)
        return replace(entry, problem=problem) if problem else entry


def _entry(
    path: bytes,
    found: os.stat_result,
    xattrs: tuple[tuple[bytes, bytes], ...],
    link: bytes = b"",
    *,
    hardlink: bool = False,
) -> Entry:
    mode = found.st_mode
    kind = Kind.HARDLINK if hardlink else _KINDS[stat.S_IFMT(mode)]
    is_device = kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
    device = (os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else None
    return Entry(
        path=path,
        kind=int(kind),
        mode=mode & 0o7777,
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        size=found.st_size if kind == Kind.FILE else 0,
        link=link,
        device=device,
        xattrs=xattrs,
    )


def _xattrs(where: bytes | int) -> tuple[tuple[bytes, bytes], ...]:
    """Extended attributes sorted by name; ACLs are among them. None on a file system without."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENOSYS, errno.ENODATA):
            return ()
        raise
    if not names:
        return ()
    pairs = ((os.fsencode(n), os.getxattr(where, n, follow_symlinks=follow)) for n in names)
    return tuple(sorted(pairs))


# -- the walk -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Walk:
    """How a tree is walked, and what was learnt on the way.

    `started_at_ns`: a thing that changed this late, or later, may change again without its times
    showing it, so it gets no signature and is read again next time.
    """

    started_at_ns: int
    excluded: Excluded | None = None
    one_file_system: bool = False
    exclude_caches: bool = False
    uids: set[int] = field(default_factory=set)
    gids: set[int] = field(default_factory=set)
    _links: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def item(self, path: bytes, where: bytes, found: os.stat_result) -> TreeItem:
        link = b""
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            first = self._links.setdefault((found.st_dev, found.st_ino), path)
            link = b"" if first == path else first
        self.uids.add(found.st_uid)
        self.gids.add(found.st_gid)
        return TreeItem(path, where, found, self._signature(found) + link, link)

    def _signature(self, found: os.stat_result) -> bytes:
        if found.st_ctime_ns > self.started_at_ns - _FRESH_NS:
            return b""
        return _SIGNATURE(
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_size,
            found.st_ino,
            found.st_mode,
            found.st_uid,
            found.st_gid,
        )

    def below(self, top: bytes, prefix: bytes, found: TreeItem) -> Iterator[TreeItem]:
        """`found`, a directory, and all that is in it. `top`: its address; `prefix`: what stands
        before the paths of what is in it."""
        device, root = found.found.st_dev, len(prefix)
        stack = [self._enter(top, prefix, found)]
        try:
            yield found
            while stack:
                for item in self._rest(stack[-1], root):
                    if not stat.S_ISDIR(item.found.st_mode) or self._is_border(item, device):
                        yield item
                        continue
                    stack.append(self._enter(item.where, item.path + b"/", item))
                    yield item
                    break
                else:
                    stack.pop().close()
        finally:
            for frame in stack:
                frame.close()

    def _is_border(self, item: TreeItem, device: int) -> bool:
        return self.one_file_system and item.found.st_dev != device

    def _rest(self, frame: "_Frame", root: int) -> Iterator[TreeItem]:
        """The items of one directory that are still to come."""
        prefix, excluded = frame.prefix, self.excluded
        for name in frame.names:
            path = prefix + name.name
            try:
                found = name.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # it went between the listing and now: as if it had never been
            if excluded and excluded(path[root:], stat.S_ISDIR(found.st_mode)):
                continue
            yield self.item(path, name.path, found)

    def _enter(self, top: bytes, prefix: bytes, found: TreeItem) -> "_Frame":
        """List a directory. One that cannot be listed is told as its item's problem."""
        descriptor = -1
        try:
            if len(top) > _PATH_LIMIT:
                descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                top = b"/proc/self/fd/%d" % descriptor
            with os.scandir(top) as entries:
                names = sorted(entries, key=_name)
        except OSError as error:
            found.problem = f"the directory cannot be listed: {reason(error)}"
            found.signature = b""
            names = []
        if self.exclude_caches:
            names = [n for n in names if n.name == _CACHE_TAG] or names
        return _Frame(iter(names), prefix, descriptor)


@dataclass(slots=True)
class _Frame:
    """A directory that the walk is in. `descriptor` holds open what the addresses below need."""

    names: Iterator["os.DirEntry[bytes]"]
    prefix: bytes
    descriptor: int

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def _name(entry: "os.DirEntry[bytes]") -> bytes:
    return entry.name


# -- content --------------------------------------------------------------------------------------


class FileContent:
    """The bytes of a file that the walk found; see engines.base.Content."""

    __slots__ = ("_item",)
    block_bytes = 0

    def __init__(self, item: TreeItem) -> None:
        self._item = item

    @property
    def size_hint(self) -> int:
        return self._item.found.st_size

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        """Open, read, look whether it is still what the walk saw, close: four system calls. A
        file that was changed meanwhile is read once more."""
        item = self._item
        try:
            descriptor = open_file(item.where)
        except OSError as error:
            return replace(entry, problem=_unreadable(error)), b""
        try:
            before = item.found
            if is_sparse(before):
                return _load_stream(FileStream(descriptor, entry, before))
            data = os.read(descriptor, before.st_size + 1)
            after = os.fstat(descriptor)
            if len(data) == before.st_size and is_same(before, after):
                return entry, data
            return _load_again(descriptor, entry)
        except OSError as error:
            return replace(entry, problem=_unreadable(error)), b""
        finally:
            os.close(descriptor)

    def stream(self, entry: Entry) -> "LargeFile":
        return LargeFile(self._item.where, entry)


def _load_stream(stream: "FileStream") -> tuple[Entry, bytes]:
    data = b"".join(stream)
    return stream.entry, data


def _load_again(descriptor: int, entry: Entry) -> tuple[Entry, bytes]:
    found = os.fstat(descriptor)
    os.lseek(descriptor, 0, os.SEEK_SET)
    fresh = _entry(entry.path, found, _xattrs(descriptor))
    if not stat.S_ISREG(found.st_mode):
        return replace(entry, problem="it was replaced while it was read"), b""
    return _load_stream(FileStream(descriptor, fresh, found))


def open_file(where: bytes) -> int:
    """Open for reading without touching the time of access, where that is allowed."""
    try:
        return os.open(where, _READ_FLAGS | os.O_NOATIME)
    except PermissionError:
        return os.open(where, _READ_FLAGS)


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it vanished before it was read"
    if error.errno == errno.ELOOP:
        return "it was replaced while it was read"
    return f"it cannot be read: {reason(error)}"


def is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nobody wrote between two looks at a file."""
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
        and before.st_ino == after.st_ino
    )


def is_sparse(found: os.stat_result) -> bool:
    return found.st_blocks * 512 < found.st_size


class FileStream:
    """An open file in pieces: its data without its holes; see engines.base.Stream."""

    def __init__(self, descriptor: int, entry: Entry, before: os.stat_result) -> None:
        self._descriptor = descriptor
        self._before = before
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        extents = _extents(self._descriptor, self._before)
        got = 0
        for offset, length in extents or [(0, self._before.st_size)]:
            for piece in self._range(offset, length):
                got += len(piece)
                yield piece
        self._conclude(extents, got)

    def _range(self, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            piece = os.pread(self._descriptor, min(_PIECE_BYTES, end - offset), offset)
            if not piece:
                return
            offset += len(piece)
            yield piece

    def _conclude(self, extents: list[tuple[int, int]] | None, got: int) -> None:
        """What was read is what the entry says, also where the file was changed meanwhile."""
        flat = tuple(number for pair in extents or () for number in pair)
        whole = sum(flat[1::2]) if flat else self._before.st_size
        if got != whole:
            self.entry = replace(self.entry, size=got, problem="it was cut while it was read")
            return
        self.entry = replace(self.entry, extents=flat)
        if not is_same(self._before, os.fstat(self._descriptor)):
            self.entry = replace(self.entry, problem="it was changed while it was read")


class LargeFile:
    """A file that is opened when its first piece is asked for; see engines.base.Stream."""

    def __init__(self, where: bytes, entry: Entry) -> None:
        self._where = where
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        try:
            descriptor = open_file(self._where)
        except OSError as error:
            self.entry = replace(self.entry, problem=_unreadable(error))
            return
        try:
            yield from self._pieces(descriptor)
        finally:
            os.close(descriptor)

    def _pieces(self, descriptor: int) -> Iterator[bytes]:
        got = 0
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                self.entry = replace(self.entry, problem="it was replaced while it was read")
                return
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            stream = FileStream(
                descriptor,
                replace(self.entry, size=found.st_size, mtime_ns=found.st_mtime_ns),
                found,
            )
            for piece in stream:
                got += len(piece)
                yield piece
            self.entry = stream.entry
        except OSError as error:
            problem = f"only {got} bytes of it could be read: {reason(error)}"
            self.entry = replace(self.entry, size=got, extents=(), problem=problem)


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
        at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        extents.append((start, at - start))
    if len(extents) > _MOST_EXTENTS or extents == [(0, size)]:
        return None
    return extents or [(0, 0)]
