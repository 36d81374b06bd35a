"""The values that the floors hand to each other. All of them are frozen."""

from enum import IntEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Struct, field

ID_SIZE = 32  # bytes of a blob id


class Kind(IntEnum):
    """What an entry is. The numbers are part of the repository format."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    HARDLINK = 4  # another name of an earlier entry; `link` is that entry's path
    FIFO = 5
    CHARACTER_DEVICE = 6
    BLOCK_DEVICE = 7
    SOCKET = 8


Owner = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 2)]  # the one above means "leave it"
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)]


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing that a source holds, as it is written in the repository (docs/format.md).

    `path` is relative, `/`-separated, never empty, never absolute, without `..`; the root of a
    tree is `.`. Times are nanoseconds since 1970, negative before. `blobs` is the ids of the
    content's blobs, one after the other, 32 bytes each; with `indirect` each of these blobs holds
    ids instead of content. `extents` is [offset, length, ...] of the data of a sparse file: the
    content holds only these ranges, the rest of `size` bytes is holes; a file that is one hole has
    the extent (0, 0). `problem` says why the
    content is not whole (empty: it is).
    """

    path: bytes
    kind: Annotated[int, msgspec.Meta(ge=1, le=8)]
    mode: Annotated[int, msgspec.Meta(ge=0, le=0o7777)] = 0  # with setuid, setgid, sticky
    uid: Owner = 0
    gid: Owner = 0
    mtime_ns: int = 0
    size: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0  # bytes
    blobs: bytes = b""
    indirect: bool = False
    link: bytes = b""  # a symlink's target, a hard link's first path
    device: tuple[Number, Number] | None = None  # major, minor
    xattrs: tuple[tuple[bytes, bytes], ...] = ()  # sorted by name; ACLs are among them
    extents: tuple[int, ...] = ()
    problem: str = ""


def sort_key(path: bytes) -> bytes:
    """The order of entries: by path component, so that a directory's content follows it."""
    return b"" if path == b"." else path.replace(b"/", b"\0")


class Problem(Struct, frozen=True):
    """An entry that could not be read or put back whole. Any of these makes a run partial, but for
    what was to be `expected`: only root gives files to others, as `tar` and `cp` know, too.
    `absent`: it is not back at all."""

    path: bytes
    what: str
    expected: bool = False
    absent: bool = False


class Snapshot(Struct, frozen=True):
    """One committed recovery point, as the writer credential can see it.

    `name` is the manifest's object name: 64 hexadecimal digits, of which people type the first
    eight. `consistent_at_ns` is the instant whose state the snapshot holds.
    """

    name: str
    asset: str
    engine: str
    host: str
    consistent_at_ns: int
    started_at_ns: int
    finished_at_ns: int
    entries: int
    size_bytes: int  # logical size of all content
    added_bytes: int  # what this run stored, compressed and sealed
    problems: int
    tags: tuple[str, ...] = ()
    plan_digest: str = ""
    version: str = ""  # of drctl
    facts: dict[str, str] = field(default_factory=dict)  # what the engine measured; no secrets
    root: bytes = b""  # ids of the blobs that hold the root of its entries
    refs: str = ""  # name of what says which segments it needs

    @property
    def short(self) -> str:
        return self.name[:8]

    @property
    def status(self) -> Literal["complete", "partial"]:
        return "partial" if self.problems else "complete"

    @property
    def suspect(self) -> str:
        """What is out of the ordinary about it, in a sentence; empty: nothing."""
        corrupt = self.facts.get("corrupt_pages", "0")
        wrong = "" if corrupt == "0" else f"pages whose checksum is wrong: {corrupt}"
        return self.facts.get("anomaly") or wrong


class Change(Struct, frozen=True):
    """A difference between two snapshots. `what`: added, removed, content, metadata or kind."""

    path: bytes
    what: Literal["added", "removed", "content", "metadata", "kind"]
    before: Entry | None
    after: Entry | None
