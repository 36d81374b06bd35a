"""Walking a directory tree: items in order, each with what `lstat` gave.

This is the busiest loop there is when nothing changed, so an item holds little and builds its entry
only when somebody asks. A directory is opened, proven to be the one that was found, listed, and
looked through by its descriptor: nobody who owns a part of the tree can lead the walk out of it by
putting a symbolic link in a directory's place. Where a path is too long for the kernel (PATH_MAX),
the walk goes on below /proc/self/fd, and what is found there holds that directory open.
"""

import os
import stat
import struct
import sys
from collections.abc import Iterator
from itertools import islice

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from drctl.engines.base import Item, PlainItem
from drctl.engines.patterns import NOTHING, Excluded
from drctl.engines.tree_content import VANISHED, FileContent
from drctl.engines.tree_look import (
    ADDRESS_LIMIT_BYTES,
    Directory,
    Held,
    Identity,
    Links,
    Place,
    Xattrs,
    identity,
    open_directory,
    open_quietly,
    read_xattrs,
    reason,
    reopen,
    to_entry,
)
from drctl.engines.unfinished import MARK
from drctl.model import Entry, Kind

_LOOK_AHEAD = 1024  # names of a directory that are looked at in one go
_FRESH_NS = 2_000_000_000
_ENCODING = sys.getfilesystemencoding()
_CACHE_TAG = b"CACHEDIR.TAG"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
_TYPE, _DIRECTORY, _FILE = 0o170000, 0o040000, 0o100000  # of st_mode
_pack = struct.Struct("<qqQQIII").pack

Looked = os.stat_result | OSError


class TreeItem(msgspec.Struct, gc=False):
    """One thing found by the walk; see engines.base.Item. `first` is an earlier path of the same
    thing, where it has several, and `links` what is known of all such things."""

    path: bytes
    signature: bytes
    found: os.stat_result
    directory: Directory
    name: bytes
    first: bytes = b""
    problem: str = ""
    links: Links | None = None

    @property
    def place(self) -> Place:
        return Place(self.directory, self.name)

    @property
    def content(self) -> FileContent | None:
        """A file of no size is opened, too: /proc, /sys and some of FUSE say 0 of any content."""
        found = self.found
        if found.st_mode & _TYPE != _FILE or self.first:
            return None
        return FileContent(self.place, found, self.links)

    def entry(self) -> Entry:
        """Metadata as `lstat` gave it. A file is asked for its attributes when it is
        open, so that both are of the same file."""
        found = self.found
        if self.first or found.st_mode & _TYPE == _FILE:
            return to_entry(self.path, found, first=self.first)
        target, problem = b"", self.problem
        xattrs: Xattrs = ()
        try:
            xattrs = read_xattrs(self.place.address)
            if stat.S_ISLNK(found.st_mode):
                target = os.readlink(self.place.address)
        except OSError as error:
            problem = problem or f"its attributes cannot be read: {reason(error)}"
        entry = to_entry(self.path, found, xattrs, target)
        return replace(entry, problem=problem) if problem else entry


class _Listing(Struct):
    """A directory that the walk is in. `prefix` stands before the paths of its things, `inside`
    before the same below its root, which lies on `device`. `is_empty`: nothing of it is taken."""

    directory: Directory
    prefix: bytes
    inside: bytes
    device: int
    items: Iterator[Item] = field(default_factory=lambda: iter(()))
    is_empty: bool = False
    is_marked: bool = False  # a restore to it was interrupted, or is running


class Walk(Struct):
    """How a tree is walked, and what was learnt on the way.

    `started_at_ns`: a thing that changed less than two seconds before, or later, may change again
    without its times showing it, since file systems count time in ticks. It gets no signature, and
    is read again next time. `roots`: paths in the tree that are roots themselves; neither a pattern
    nor the border of a file system keeps the walk out of them. `met`: those that were found.
    `empty`: tops and roots that are directories with nothing in them.
    """

    started_at_ns: int
    excluded: Excluded = NOTHING
    one_file_system: bool = False
    exclude_caches: bool = False
    roots: frozenset[bytes] = frozenset()
    met: set[bytes] = field(default_factory=set)
    empty: set[bytes] = field(default_factory=set)
    uids: set[int] = field(default_factory=set)
    gids: set[int] = field(default_factory=set)
    _links: Links = field(default_factory=dict)

    def item(
        self, path: bytes, directory: Directory, name: bytes, found: os.stat_result
    ) -> TreeItem:
        """The item of a thing that was looked at."""
        self.uids.add(found.st_uid)
        self.gids.add(found.st_gid)
        if found.st_nlink > 1 and found.st_mode & _TYPE != _DIRECTORY:
            first = self._first_of(path, found)
            signature = self._signature(found, first)
            return TreeItem(path, signature, found, directory, name, first, "", self._links)
        return TreeItem(path, self._signature(found, b""), found, directory, name)

    def _first_of(self, path: bytes, found: os.stat_result) -> bytes:
        """The first path of something that has several; empty when this is it. It is forgotten
        once all of them were met."""
        key = identity(found)
        first, left = self._links.pop(key, (b"", found.st_nlink))
        if left > 1:
            self._links[key] = (first or path, left - 1)
        return first

    def _signature(self, found: os.stat_result, first: bytes) -> bytes:
        changed_ns = found.st_ctime_ns
        if changed_ns > self.started_at_ns - _FRESH_NS:
            return b""
        numbers = (
            found.st_mtime_ns,
            changed_ns,
            found.st_size,
            found.st_ino,
            found.st_mode,
            found.st_uid,
            found.st_gid,
        )
        try:
            return _pack(*numbers) + first
        except struct.error:  # a time after the year 2262 needs more room
            return repr(numbers).encode() + first

    def below(self, top: TreeItem, prefix: bytes) -> Iterator[Item]:
        """`top`, a directory, and all that is in it, in order. `prefix` stands before the paths of
        what is in it."""
        stack = [self._enter_root(top, prefix)]
        yield top
        while stack:
            for item in stack[-1].items:
                inner = self._inner(item, stack[-1])
                if inner:
                    stack.append(inner)
                yield item
                if inner:
                    break
            else:
                stack.pop()

    def _inner(self, item: Item, outer: _Listing) -> _Listing | None:
        """The directory that the item is, listed; None when it is none, or is not entered."""
        if not isinstance(item, TreeItem):
            return None
        is_root = item.path in self.roots
        if is_root:
            self.met.add(item.path)
        if item.found.st_mode & _TYPE != _DIRECTORY:
            return None
        prefix = item.path + b"/"
        if is_root:
            return self._enter_root(item, prefix)
        if self.one_file_system and item.found.st_dev != outer.device:
            return None
        return self._enter(item, prefix, outer.inside + item.name + b"/", outer.device)

    def _enter_root(self, item: TreeItem, prefix: bytes) -> _Listing:
        listing = self._enter(item, prefix, b"", item.found.st_dev)
        if listing.is_empty:
            self.empty.add(item.path)
        return listing

    # -- one directory ------------------------------------------------------------------------

    def _enter(self, item: TreeItem, prefix: bytes, inside: bytes, device: int) -> _Listing:
        """List a directory. One that cannot be listed is told as its item's problem."""
        address = item.place.address
        listing = _Listing(Directory(address), prefix, inside, device)
        try:
            descriptor, found = open_directory(item.place, item.found)
            held = Held(descriptor)
            listing.directory = _reachable(item.directory, address, held, found)
            names = self._list(listing, descriptor)
            listing.items = self._items(listing, names, _look(descriptor, names))
            listing.is_empty = not names
            if listing.is_marked:
                item.problem = "a restore to it was interrupted: it is not whole"
                item.signature = b""
        except OSError as error:
            item.problem = f"the directory cannot be listed: {reason(error)}"
            item.signature = b""
        return listing

    def _list(self, listing: _Listing, descriptor: int) -> list[bytes]:
        """The names in an open directory that are not left out, in order."""
        names = [n.encode(_ENCODING, "surrogateescape") for n in os.listdir(descriptor)]
        names.sort()
        if MARK in names:
            names.remove(MARK)
            listing.is_marked = True
        if self.exclude_caches and _is_cache(names, descriptor):
            names = [_CACHE_TAG]
        test = self.excluded.anything
        if not test:
            return names
        prefix, inside, roots = listing.prefix, listing.inside, self.roots
        return [n for n in names if not test(inside + n) or prefix + n in roots]

    def _items(self, listing: _Listing, names: list[bytes], looked: list[Looked]) -> Iterator[Item]:
        """The things of a directory. Of many, only some are looked at ahead, so that memory stays
        small."""
        directory, prefix, only = listing.directory, listing.prefix, self.excluded.directories
        start = 0
        while looked:
            for name, found in zip(islice(names, start, start + len(looked)), looked, strict=True):
                path = prefix + name
                if isinstance(found, OSError):
                    yield _unseen(path, found)
                elif only and self._is_left_out(path, listing.inside + name, found):
                    continue
                else:
                    yield self.item(path, directory, name, found)
            start += len(looked)
            some = names[start : start + _LOOK_AHEAD]
            looked = _look_again(directory, some) if some else []

    def _is_left_out(self, path: bytes, inside: bytes, found: os.stat_result) -> bool:
        only = self.excluded.directories
        if not only or found.st_mode & _TYPE != _DIRECTORY:
            return False
        return only(inside) is not None and path not in self.roots


def things_in(top: bytes) -> Iterator[TreeItem]:
    """All that is in a directory but itself, in order, as it stands. Nothing where there is none;
    a directory that cannot be listed is passed over."""
    real = os.path.realpath(top)
    if not os.path.isdir(real):
        return
    above, name = os.path.split(real)
    walk = Walk(0)
    items = walk.below(
        walk.item(b".", Directory(above.rstrip(b"/")), name or b".", os.lstat(real)), b""
    )
    next(items)
    yield from (item for item in items if isinstance(item, TreeItem))


def _look(descriptor: int, names: list[bytes]) -> list[Looked]:
    """What `lstat` says of the first names in an open directory."""
    look = os.stat
    looked: list[Looked] = []
    for name in islice(names, _LOOK_AHEAD):
        try:
            looked.append(look(name, dir_fd=descriptor, follow_symlinks=False))
        except OSError as error:
            looked.append(error)
    return looked


def _look_again(directory: Directory, names: list[bytes]) -> list[Looked]:
    """The same in a directory that was closed meanwhile. It may have gone: so has what is in it."""
    try:
        descriptor = reopen(directory)
    except OSError as error:
        return [error] * len(names)
    try:
        return _look(descriptor, names)
    finally:
        os.close(descriptor)


def _reachable(above: Directory, address: bytes, held: Held, found: Identity) -> Directory:
    """The directory, by an address that the kernel takes with room for a name below it."""
    if len(address) > ADDRESS_LIMIT_BYTES:
        return Directory(b"/proc/self/fd/%d" % held.descriptor, found, held)
    return Directory(address, found, above.held)


def _is_cache(names: list[bytes], descriptor: int) -> bool:
    """Whether a directory bears a tag that says so (https://bford.info/cachedir/)."""
    if _CACHE_TAG not in names:
        return False
    try:
        tag = open_quietly(_CACHE_TAG, dir_fd=descriptor)
    except OSError:
        return False
    try:
        return os.read(tag, len(_CACHE_SIGNATURE)) == _CACHE_SIGNATURE
    finally:
        os.close(tag)


def _unseen(path: bytes, error: OSError) -> PlainItem:
    """A name that was listed and could not be looked at. Nobody knows what it was."""
    vanished = isinstance(error, FileNotFoundError)
    problem = VANISHED if vanished else f"it cannot be looked at: {reason(error)}"
    return PlainItem(Entry(path, int(Kind.FILE), problem=problem))
