"""The seams of an engine: a Source reads an asset, a Target puts one back, a Probe asks it.

An engine is one file: its Settings (what the plan says, a pydantic model), its Source, Target
and Probe, and one Engine value that names them; `engines/__init__.py` lists the Engine values.

Everything that a source yields is an ordered run of items (see model.sort_key). A stream is a run
of one. A source that cannot read its asset whole raises SourceError, and then no snapshot is made;
an entry that cannot be read is a Problem and makes the run partial, where the engine allows that.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, BeforeValidator

from drctl.clock import Clock
from drctl.events import Reporter
from drctl.model import Entry, Problem


def _flag(value: object) -> object:
    """Only these two words; a plan's `yes` or `on` may have been meant as text."""
    words: dict[object, bool] = {"true": True, "false": False, True: True, False: False}
    if not isinstance(value, str | bool) or value not in words:
        raise ValueError(f"true or false is wanted, not '{value}'")
    return words[value]


Flag = Annotated[bool, BeforeValidator(_flag)]


class Content(Protocol):
    """The bytes of one item. One of the two methods is called, once, in any thread."""

    @property
    def size_hint(self) -> int:
        """Bytes expected, or -1 when nobody knows. Small content is read by `load`."""
        ...

    @property
    def block_bytes(self) -> int:
        """0: cut by content. Otherwise cut in blocks of so many bytes, for paged files."""
        ...

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        """All bytes at once, with the entry as it stood when they were read.

        Raises SourceError when the whole asset cannot be trusted any more; a passing trouble with
        this one entry is told in the returned entry's `problem`.
        """
        ...

    def stream(self, entry: Entry) -> "Stream":
        """The bytes in pieces, for large content."""
        ...


class Stream(Protocol):
    """Content in pieces. `entry` is right once the iteration has ended."""

    @property
    def entry(self) -> Entry: ...

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Pieces of any size (about 1 MiB is best). A piece stays valid after the next one."""
        ...


class Item(Protocol):
    """One entry on its way into a snapshot.

    `signature` is opaque bytes. When the last snapshot's item of this path had the same non-empty
    signature, its entry is taken over: neither `entry` nor `content` is asked for.
    """

    @property
    def path(self) -> bytes: ...

    @property
    def signature(self) -> bytes: ...

    @property
    def content(self) -> Content | None:
        """None: it has no bytes (a directory, a link, an empty or unreadable file)."""
        ...

    def entry(self) -> Entry:
        """The entry as it stands now, without content. Never raises for this entry alone: what
        could not be learnt is told in its `problem`."""
        ...


@dataclass(frozen=True, slots=True)
class PlainItem:
    """An item whose entry is known from the start."""

    known: Entry
    content: Content | None = None
    signature: bytes = b""

    @property
    def path(self) -> bytes:
        return self.known.path

    def entry(self) -> Entry:
        return self.known


class Capture(Protocol):
    """An asset held still (or copied) at its consistent point, being read."""

    @property
    def consistent_at_ns(self) -> int:
        """The instant whose state is read, known once the capture is open."""
        ...

    @property
    def facts(self) -> dict[str, str]:
        """What was measured: versions, positions, counts. Complete after the last item. These
        are readable with the writer credential alone: no path, no content, no secret."""
        ...

    @property
    def private_facts(self) -> dict[str, str]:
        """The same for what only an identity may read: the paths of the roots, owners' names."""
        ...

    def items(self) -> Iterator[Item]:
        """In order. After the last one everything is proven whole: an exit status, a trailer.
        Raises SourceError otherwise, also at the very end."""
        ...


class Source(Protocol):
    def open(self) -> AbstractContextManager[Capture]:
        """Reach the consistent point. Leaving the context lets go of everything, always."""
        ...


class Writing(Protocol):
    """One file being put back, `pieces` in order from offset 0 of the content."""

    def write(self, piece: bytes | memoryview) -> None: ...

    def close(self) -> Problem | None:
        """All pieces were written: set the metadata."""
        ...

    def abort(self) -> None:
        """The content could not be had: leave nothing that looks whole."""
        ...


class Target(Protocol):
    """Puts entries back. Calls come in entry order for everything but small files."""

    def prepare(self) -> None:
        """Raises TargetRefused when something is there that restoring would destroy."""
        ...

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        """A FILE whose content fits in memory. Called from many threads, after `put_plain` of
        its directory. A trouble with this one entry is returned, not raised."""
        ...

    def put_plain(self, entry: Entry) -> Problem | None:
        """Anything without content. Directories get their final metadata in `finish`;
        a HARDLINK comes after the entry that it names, but its content may come later."""
        ...

    def open_large(self, entry: Entry) -> Writing:
        """A FILE whose content comes in pieces."""
        ...

    def finish(self) -> tuple[Problem, ...]:
        """Everything was written: links, directories' metadata, durability, last steps."""
        ...


@dataclass(frozen=True, slots=True)
class Health:
    """What a probe found. `facts` are counted values such as rows by table."""

    ok: bool
    what: str
    facts: dict[str, str]


class Probe(Protocol):
    """Asks a restored thing whether it is up and whole."""

    def check(self) -> Health: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an engine may use of the world around it."""

    clock: Clock
    report: Reporter
    base: str  # the plan's directory, for relative paths
    scratch: str  # a private directory on a disk with room; emptied by the engine


@dataclass(frozen=True, slots=True)
class Engine:
    """One kind of asset: the plan's key for it, and how its parts are made.

    `source(settings, asset, surroundings)`, `target(settings, to, private_facts, surroundings)` and
    `probe(settings, at)`: settings is an instance of `settings`, `to` and `at` are where a person
    wants the asset, as typed.
    """

    kind: str
    settings: type[BaseModel]
    source: Callable[..., Source]
    target: Callable[..., Target]
    probe: Callable[..., Probe]
