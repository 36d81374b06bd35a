"""From a source's items to entries whose content is stored: the busiest loop of a backup.

An item whose signature is the one remembered is taken over unread. All others are read: small
content whole, large content in pieces. Reading small content and naming it stays in one thread: two
that call the system or a hash every few microseconds spend more on handing the interpreter to each
other than they gain. The pool compresses meanwhile, which takes longer than all the rest.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from drctl.clock import Clock
from drctl.codec.entries import XATTRS_MOST_BYTES, xattrs_bytes
from drctl.codec.limits import SMALL_BYTES
from drctl.engines.base import Content, Item, Outgrown
from drctl.events import EntryProblem, Progress, Reporter
from drctl.model import Entry, Kind, sort_key
from drctl.ops.reread import Again
from drctl.repository.state import Remembered, StateWriter
from drctl.repository.stored import ContentStore
from drctl.repository.writer import Writer
from drctl.units import show_bytes, show_path

_DIRECTORY = int(Kind.DIRECTORY)
_TELL_EVERY_ITEMS = 64
_TELL_EVERY_SECONDS = 0.1


class Tally(Struct):
    """What a run has seen so far. Sizes in bytes."""

    entries: int = 0
    things: int = 0  # entries that are no directories
    size_bytes: int = 0
    read_bytes: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    problems: list[EntryProblem] = field(default_factory=list)


class Intake:
    """One pass over a source's items."""

    def __init__(
        self,
        store: ContentStore,
        writer: Writer,
        before: Iterator[Remembered],
        after: StateWriter,
        clock: Clock,
        report: Reporter,
        again: Again | None = None,
    ) -> None:
        """`again`: whether a path is read though nothing shows that it changed."""
        self.tally = Tally()
        self._store = store
        self._writer = writer
        self._before = before
        self._after = after
        self._clock = clock
        self._report = report
        self._told_at = 0.0
        self._again = again

    def entries(self, items: Iterator[Item]) -> Iterator[Entry]:
        """The entries of a snapshot, in order, their content handed to the writing run."""
        yield from self._told(self._taken(merge(items, self._before)))

    def entries_put_in_order(self, items: Iterator[Item]) -> Iterator[Entry]:
        """The same for items that come in no order. All entries, not their content, are in memory
        at once, so this is for sources of thousands of files, not of millions."""
        known = {before.entry.path: before for before in self._before}
        taken = self._taken((item, known.get(item.path)) for item in items)
        yield from self._told(iter(sorted(taken, key=lambda r: sort_key(r.entry.path))))

    def _told(self, taken: Iterator[Remembered]) -> Iterator[Entry]:
        tally, remember = self.tally, self._after.add
        for remembered in taken:
            entry = remembered.entry
            remember(remembered)
            tally.entries += 1
            tally.size_bytes += entry.size
            if entry.kind != _DIRECTORY:
                tally.things += 1
            if entry.problem:
                self._tell_problem(entry)
            if tally.entries % _TELL_EVERY_ITEMS == 0:
                self._tell()
            yield entry

    def _taken(self, items: Iterator[tuple[Item, Remembered | None]]) -> Iterator[Remembered]:
        """What becomes of each item."""
        tally, again = self.tally, self._again
        for item, known in items:
            is_same = bool(item.signature) and known and item.signature == known.signature
            if again and known and known.entry.blobs and again(item.path):
                is_same = False
            if known and is_same and self._is_stored(known):
                tally.unchanged += 1
                yield known
                continue
            read = self._read(item)
            if known is None:
                tally.new += 1
            elif read.entry == known.entry:
                tally.unchanged += 1  # it was read again only to be safe
            else:
                tally.changed += 1
            yield read

    def _is_stored(self, known: Remembered) -> bool:
        blobs = known.entry.blobs
        return not blobs or self._store.has(blobs, known.leaves)

    def _read(self, item: Item) -> Remembered:
        content = item.content
        if content is None:
            return _remembered(item, item.entry())
        if not 0 <= content.size_hint <= SMALL_BYTES:
            return self._read_large(item, content)
        try:
            entry, data = content.load(item.entry())
        except Outgrown:
            return self._read_large(item, content)
        if data:
            self.tally.read_bytes += len(data)
            entry = with_content(entry, self._writer.add(data))
        return _remembered(item, entry)

    def _read_large(self, item: Item, content: Content) -> Remembered:
        stream = content.stream(item.entry())
        stored = self._store.stream(self._counted(stream), content.block_bytes)
        entry = with_content(stream.entry, stored.blobs, indirect=stored.indirect)
        return _remembered(item, entry, stored.leaves)

    def _counted(self, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        for piece in pieces:
            self.tally.read_bytes += len(piece)
            self._tell()
            yield piece

    def _tell_problem(self, entry: Entry) -> None:
        problem = EntryProblem(show_path(entry.path), entry.problem)
        self.tally.problems.append(problem)
        self._report.emit(problem)

    def _tell(self) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._told_at < _TELL_EVERY_SECONDS:
            return
        self._told_at = now
        tally, stored = self.tally, self._writer.stored_bytes
        done = tally.size_bytes
        self._report.emit(Progress(done, 0, tally.entries, stored_bytes=stored))


def merge(
    items: Iterator[Item], before: Iterator[Remembered]
) -> Iterator[tuple[Item, Remembered | None]]:
    """Each item with what is remembered of its path. Both come in order, so memory is bounded."""
    known = next(before, None)
    for item in items:
        path = item.path
        if known is not None and known.entry.path != path:
            known = _first_from(sort_key(path), known, before)
        if known is not None and known.entry.path == path:
            yield item, known
            known = next(before, None)
        else:
            yield item, None


def _first_from(key: bytes, known: Remembered, before: Iterator[Remembered]) -> Remembered | None:
    """What is remembered of the first path that does not come before `key`."""
    found: Remembered | None = known
    while found is not None and sort_key(found.entry.path) < key:
        found = next(before, None)
    return found


def _remembered(item: Item, entry: Entry, leaves: bytes = b"") -> Remembered:
    """What was not read whole is read again next time, whatever its signature."""
    if entry.xattrs:
        entry = _with_room_for_attributes(entry)
    return Remembered(b"" if entry.problem else item.signature, entry, leaves)


def _with_room_for_attributes(entry: Entry) -> Entry:
    """Without those that no block of entries could hold; its content is saved all the same."""
    size_bytes = xattrs_bytes(entry)
    if size_bytes <= XATTRS_MOST_BYTES:
        return entry
    most = show_bytes(XATTRS_MOST_BYTES)
    why = f"it has {show_bytes(size_bytes)} of extended attributes, more than {most}: not saved"
    return replace(entry, xattrs=(), problem=entry.problem or why)


def with_content(entry: Entry, blobs: bytes, *, indirect: bool = False) -> Entry:
    return replace(entry, blobs=blobs, indirect=indirect) if blobs else entry
