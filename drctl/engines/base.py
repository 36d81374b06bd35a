"""The seams of an engine: a Source reads an asset, a Target puts one back, a Probe asks it.

An engine is one file: its Settings (what the plan says, a pydantic model), its Source, Target
and Probe, and one Engine value that names them; `engines/__init__.py` lists the Engine values.

Everything that a source yields is an ordered run of items (see model.sort_key). A stream is a run
of one. A source that cannot read its asset whole raises SourceError, and then no snapshot is made;
an entry that cannot be read is a Problem and makes the run partial, where the engine allows that.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct
from pydantic import BaseModel

from drctl.clock import Clock
from drctl.errors import KeyUnavailable
from drctl.events import Reporter
from drctl.logpieces import LogPiece
from drctl.model import Entry, Problem


def no_secret(reference: str) -> str:
    """For surroundings in which nothing needs a secret."""
    raise KeyUnavailable(f"{reference.partition(':')[0]}: no secret can be had here")


Buffer = bytes | bytearray | memoryview


class Outgrown(Exception):
    """Small content is not small any more: it is to be streamed."""


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
        this one entry is told in the returned entry's `problem`. Raises Outgrown where it is larger
        than SMALL_BYTES by now: then `stream` is called, too.
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


class PlainItem(Struct, frozen=True):
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


@runtime_checkable
class NamesPoints(Protocol):
    """A capture that can mark its instant in the asset's log, so that a group's recovery point can
    be found there by name. Asked once all of a group are open, before any is read."""

    def name_point(self, name: str) -> None:
        """Raises SourceError."""
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


@runtime_checkable
class Scattered(Writing, Protocol):
    """One that also takes its pieces in any order and from any thread, all of them this way."""

    def write_at(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """What follows each other. `offset`: in the content, the file without its holes."""
        ...


class Target(Protocol):
    """Puts entries back. What has no content comes in entry order, and large files are opened in
    it, a few at a time."""

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


class Health(Struct, frozen=True):
    """What an engine's own integrity checks found; `what` is one sentence."""

    ok: bool
    what: str


class Standing(Protocol):
    """A restored asset that is up, as long as its probe's context is open."""

    def health(self) -> Health:
        """Is it whole? Asked of the database itself: its own checks of pages and indexes."""
        ...

    def counts(self) -> dict[str, int]:
        """What it holds: `rows.<table>` of a database, `entries` and `bytes` of a tree. The same
        names as in the snapshot's private fact `counts`, which was taken at the consistent
        point."""
        ...

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        """Rows as text. Raises UsageError where the engine speaks no SQL, TargetRefused with the
        database's own words when it refuses the query."""
        ...

    def newest_mark_ns(self) -> int | None:
        """The instant in the newest marker row, or None where there is none."""
        ...

    def interrupt(self) -> None:
        """End what another thread is asking just now: that thread's call raises. Called again
        until it has; may raise TargetRefused. Where nothing can be asked that would not end by
        itself, it does nothing."""
        ...


class Probe(Protocol):
    """Puts a restored asset up, privately: a server listens on a Unix socket only, and reaches
    nothing of production."""

    def open(self) -> AbstractContextManager[Standing]:
        """Leaving the context takes it down. Raises TargetRefused when it does not come up."""
        ...


class Marker(Protocol):
    """Writes a row into the live source, so that a restored copy tells how fresh it is."""

    def write(self, at_ns: int) -> None:
        """Commit one marker row. Raises SourceError."""
        ...


class Follower(Protocol):
    """Stores an asset's log in the repository while the database writes it."""

    def follow(self, ended: Callable[[], bool]) -> None:
        """Until `ended` says so, which is asked several times a second. That it follows is told
        once the database sends its log, not before. What came in is stored
        before it returns, however it ends. Raises SourceError, StorageError; it may be called
        again, and goes on where the stored log ends."""
        ...


class Goal(Struct, frozen=True):
    """How far a restore replays an asset's log. `latest`: to its end; `immediate`: no further than
    the snapshot needs. Otherwise `value` is the point: a time (nanoseconds since 1970), an LSN, a
    name, a transaction or a GTID."""

    kind: Literal["latest", "immediate", "time", "lsn", "name", "transaction", "gtid"] = "latest"
    value: str = ""
    timeline: str = "latest"


LATEST = Goal()


class Log(Protocol):
    """An asset's log (WAL, binlog) in the repository that is restored from."""

    def pieces(self) -> tuple[LogPiece, ...]:
        """By file and offset. One range may be there twice: any of them is right."""
        ...

    def read(self, piece: LogPiece) -> bytes:
        """Raises IntegrityError naming the object, StorageError."""
        ...


class LogSink(Protocol):
    """Where an engine stores its asset's log, piece by piece, as the database writes it."""

    @property
    def stream(self) -> str:
        """What a capture tells as its fact `log_stream`: the log that continues the snapshot."""
        ...

    def pieces(self, file: str = "") -> tuple[LogPiece, ...]:
        """What is stored: all of it, or of one file. Raises StorageError."""
        ...

    def append(self, file: str, offset: int, data: Buffer, *, whole: bool = False) -> None:
        """Store what stands in a file at `offset`; durable when it returns. Raises StorageError."""
        ...

    def differs(self, piece: LogPiece, plain: Buffer) -> bool:
        """Whether a stored piece holds something else than what the file has from its offset."""
        ...

    def is_whole(self, file: str) -> bool: ...

    def clean(self, file: str) -> int:
        """Delete what a longer piece of the file covers. Gives how many pieces went."""
        ...


class Surroundings(Struct, frozen=True):
    """What an engine may use of the world around it."""

    clock: Clock
    report: Reporter
    base: str  # the plan's directory, for relative paths
    scratch: str  # a private directory on a disk with room; emptied by the engine
    log: Log | None = None  # where the engine keeps one, and something is being restored
    goal: Goal = LATEST
    delta: bool = False  # write over what is there, only what differs
    secret: Callable[[str], str] = no_secret  # of a SecretRef. Raises KeyUnavailable
    # The sink of the log that one source writes, named by what identifies it for ever.
    open_log: Callable[[str], LogSink] | None = None


class Extraction(Protocol):
    """One database out of what was restored as a whole."""

    def check(self, to: str) -> None:
        """Before anything is restored. Raises UsageError, TargetRefused."""
        ...

    def extract(self, at: str, superuser: str, database: str, to: str) -> None:
        """Take it out of what was restored at a place: into a file, or another server. Raises
        TargetRefused."""
        ...


class Engine(Struct, frozen=True):
    """One kind of asset: the plan's key for it, and how its parts are made.

    `source(settings, asset, surroundings)`, `target(settings, to, private_facts, surroundings)`,
    `probe(settings, at, surroundings)` and `marker(settings, asset, surroundings)`: settings is an
    instance of `settings`, `to` and `at` are where a person wants the asset, as typed.
    `choose(bases, surroundings)`: which of the snapshots, newest first and told by private facts,
    leads to the goal along the log; None: it is not to be known, or none does.
    `hollow(settings, at, surroundings)` makes an empty asset at `at`, where nothing is yet, which
    its probe opens: what a check must not pass on. Raises TargetRefused.
    `beside`: endings of what stands beside an asset's place and is part of it: it comes and goes
    with it. `moved(before, now)`: the asset and what is beside it were renamed; what in it names
    the place is set right, as often as it is asked. Raises OSError.
    """

    kind: str
    settings: type[BaseModel]
    source: Callable[..., Source]
    target: Callable[..., Target]
    probe: Callable[..., Probe]
    marker: Callable[..., Marker] | None = None
    follower: Callable[..., Follower] | None = None  # as `marker`; settings have a flag `stream`
    in_order: bool = True  # its items come in order; otherwise they are put in order afterwards
    has_delta: bool = False  # its target can write over what is there
    has_log: bool = False  # a restore goes on from the snapshot along a log, up to a Goal
    choose: Callable[..., int | None] | None = None
    hollow: Callable[..., None] | None = None
    extraction: Extraction | None = None
    # The value of its setting `mode` with which the point is reached only while it is read.
    late_mode: str = ""
    beside: tuple[str, ...] = ()
    moved: Callable[[str, str], None] | None = None
    copies_at_once: bool = False  # it copies in one go, which a limit on reading would not reach
