"""Looking at one thing in a tree: reach it, open it, read its metadata.

Who owns a part of a tree may change it at any time, so a path may lead elsewhere a moment later. A
thing is known by its directory's identity and its name; what was opened is compared with what was
found, and where it differs it is opened once more below its directory, proven to be the same one.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from drctl.model import Entry, Kind

READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
LIST_FLAGS = READ_FLAGS | os.O_DIRECTORY
ADDRESS_LIMIT_BYTES = 3800  # PATH_MAX is 4096, and a name may add 255
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.ENODATA})
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
    stat.S_IFSOCK: Kind.SOCKET,
}

_REGULAR = int(Kind.FILE)

Identity = tuple[int, int]  # device, inode
Links = dict[Identity, tuple[bytes, int]]  # what has several names -> the first, how many are left
Xattrs = tuple[tuple[bytes, bytes], ...]


def reason(error: OSError) -> str:
    """Why, in the system's words."""
    return error.strerror or type(error).__name__


def identity(found: os.stat_result) -> Identity:
    """What stays the same of a thing as long as it exists."""
    return found.st_dev, found.st_ino


def is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether both are of one file, and nobody wrote to it in between."""
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
        and before.st_ino == after.st_ino
        and before.st_dev == after.st_dev
        and before.st_nlink == after.st_nlink
    )


def is_sparse(found: os.stat_result) -> bool:
    """Whether it takes less room than its size, so that it may have holes."""
    return found.st_blocks * 512 < found.st_size


class Held:
    """An open directory, which is closed when nothing needs it any more."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class Directory(msgspec.Struct, frozen=True, gc=False):
    """A directory that things are in. The one above a root is taken as it is: no identity.
    `held`: what the address needs to be open."""

    address: bytes
    identity: Identity | None = None
    held: Held | None = None


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a thing is."""

    directory: Directory
    name: bytes

    @property
    def address(self) -> bytes:
        return self.directory.address + b"/" + self.name


def open_quietly(address: bytes, flags: int = READ_FLAGS, dir_fd: int | None = None) -> int:
    """Open for reading, without touching the time of access where that is allowed."""
    try:
        return os.open(address, flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError:
        return os.open(address, flags, dir_fd=dir_fd)


def reopen(directory: Directory) -> int:
    """Open a directory that was open before. Raises OSError, also when another has its place."""
    descriptor = open_quietly(directory.address, READ_FLAGS & ~os.O_NOFOLLOW | os.O_DIRECTORY)
    if directory.identity and identity(os.fstat(descriptor)) != directory.identity:
        os.close(descriptor)
        raise OSError(errno.ESTALE, "its directory was replaced meanwhile")
    return descriptor


def open_again(place: Place, flags: int = READ_FLAGS) -> int:
    """Open what has this name now in the very directory where it was found. Raises OSError."""
    above = reopen(place.directory)
    try:
        return open_quietly(place.name, flags, above)
    finally:
        os.close(above)


@contextmanager
def address_below(top: bytes, path: bytes) -> Iterator[bytes]:
    """An address of what has this path below a directory. One that is too long for the kernel
    (PATH_MAX) goes through the directory above it, which is held open meanwhile and reached name
    by name, through no symbolic link. Raises OSError."""
    if len(top) + len(path) < ADDRESS_LIMIT_BYTES:
        yield os.path.join(top, path)
        return
    above, _, name = path.rpartition(b"/")
    held = Held(open_quietly(top, LIST_FLAGS & ~os.O_NOFOLLOW))
    for part in above.split(b"/"):
        held = Held(open_quietly(part, LIST_FLAGS, held.descriptor))
    yield b"/proc/self/fd/%d/%b" % (held.descriptor, name)


def open_directory(place: Place, found: os.stat_result) -> tuple[int, Identity]:
    """A descriptor of the directory that was found, or of the one that took its place, such as a
    file system that is mounted when somebody looks. Raises OSError."""
    descriptor = open_quietly(place.address, LIST_FLAGS)
    if identity(os.fstat(descriptor)) != identity(found):
        os.close(descriptor)
        descriptor = open_again(place, LIST_FLAGS)
    return descriptor, identity(os.fstat(descriptor))


def read_xattrs(where: bytes | int) -> Xattrs:
    """Extended attributes by name, ACLs among them. A path's last component is not followed.
    Raises OSError; a file system that has none is no error."""
    follow = isinstance(where, int)
    try:
        names = os.listxattr(where, follow_symlinks=follow)
        if not names:
            return ()
        pairs = [(os.fsencode(n), os.getxattr(where, n, follow_symlinks=follow)) for n in names]
    except OSError as error:
        if error.errno in _NO_ATTRIBUTES:
            return ()
        raise
    return tuple(sorted(pairs))


def to_entry(
    path: bytes, found: os.stat_result, xattrs: Xattrs = (), target: bytes = b"", first: bytes = b""
) -> Entry:
    """`target`: what a symbolic link names. `first`: the first path of what has several; then this
    entry is another name of it."""
    mode = found.st_mode
    if not first and stat.S_ISREG(mode):  # most are, so this is quick
        return Entry(path, _REGULAR, mode & 0o7777, found.st_uid, found.st_gid,
                     found.st_mtime_ns, found.st_size, xattrs=xattrs)  # fmt: skip
    kind = Kind.HARDLINK if first else _KINDS[stat.S_IFMT(mode)]
    is_device = kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)
    return Entry(
        path,
        int(kind),
        mode & 0o7777,
        found.st_uid,
        found.st_gid,
        found.st_mtime_ns,
        link=first or target,
        device=(os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else None,
        xattrs=xattrs,
    )
