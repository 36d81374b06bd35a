"""From a source's items to entries whose content is stored: the busiest loop of a backup.

An item whose signature is the one remembered is taken over unread. All others are read: small
content whole, large content in pieces. Names of blobs are worked out by the pool, a batch at a
time. Reading stays in one thread: two that make a system call every few microseconds would spend
more on handing the interpreter to each other than they gain.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from msgspec.structs import replace

from drctl.clock import Clock
from drctl.codec.limits import SMALL_BYTES
from drctl.engines.base import Content, Item
from drctl.events import EntryProblem, Progress, Reporter
from drctl.model import Entry, sort_key
from drctl.repository.state import Remembered, StateWriter
from drctl.repository.stored import ContentStore
from drctl.repository.writer import Writer
from drctl.units import show_path

_BATCH_BYTES = 2 << 20
_BATCH_ITEMS = 512
_BATCHES_AHEAD = 3
_TELL_EVERY_ITEMS = 64
_TELL_EVERY_SECONDS = 0.1


@dataclass(slots=True)
class Tally:
    """What a run has seen so far. Sizes in bytes."""

    entries: int = 0
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
        pool: Executor,
        clock: Clock,
        report: Reporter,
    ) -> None:
        self.tally = Tally()
        self._store = store
        self._writer = writer
        self._before = before
        self._after = after
        self._pool = pool
        self._clock = clock
        self._report = report
        self._told_at = 0.0

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
            if entry.problem:
                self._tell_problem(entry)
            if tally.entries % _TELL_EVERY_ITEMS == 0:
                self._tell()
            yield entry

    def _taken(self, items: Iterator[tuple[Item, Remembered | None]]) -> Iterator[Remembered]:
        """What becomes of each item. Some batches are being named at a time."""
        waiting: deque[_Batch] = deque()
        batch = _Batch()
        for item, known in items:
            self._take(batch, item, known)
            if batch.is_full:
                waiting.append(self._begin(batch))
                batch = _Batch()
            if len(waiting) > _BATCHES_AHEAD:
                yield from self._conclude(waiting.popleft())
        waiting.append(self._begin(batch))
        while waiting:
            yield from self._conclude(waiting.popleft())

    def _take(self, batch: "_Batch", item: Item, known: Remembered | None) -> None:
        if known is None:
            self.tally.new += 1
        elif item.signature and item.signature == known.signature and self._is_stored(known):
            self.tally.unchanged += 1
            batch.done.append(known)
            return
        else:
            self.tally.changed += 1
        content = item.content
        if content is None:
            batch.done.append(_remembered(item, item.entry()))
        elif 0 <= content.size_hint <= SMALL_BYTES:
            batch.add_unnamed(item, *content.load(item.entry()))
        else:
            batch.done.append(self._read_large(item, content))

    def _is_stored(self, known: Remembered) -> bool:
        blobs = known.entry.blobs
        return not blobs or self._store.has(blobs, known.leaves)

    def _begin(self, batch: "_Batch") -> "_Batch":
        self.tally.read_bytes += batch.unnamed_bytes
        if batch.unnamed:
            blobs = [data for _, _, _, data in batch.unnamed]
            batch.naming = self._pool.submit(self._names, blobs)
        return batch

    def _names(self, blobs: list[bytes]) -> list[bytes]:
        """In the pool."""
        return [self._writer.blob_id(blob) for blob in blobs]

    def _conclude(self, batch: "_Batch") -> list[Remembered]:
        """Give the writing run what was named."""
        if batch.naming:
            names = batch.naming.result()
            for blob_id, (i, item, entry, data) in zip(names, batch.unnamed, strict=True):
                if data:
                    self._writer.add_named(blob_id, data)
                batch.done[i] = _remembered(item, with_content(entry, blob_id if data else b""))
        return batch.done

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


_GAP = Remembered(b"", Entry(b"", 0))


@dataclass(slots=True)
class _Batch:
    """Items in order: `done`, with gaps for those whose content has no name yet."""

    done: list[Remembered] = field(default_factory=list)
    unnamed: list[tuple[int, Item, Entry, bytes]] = field(default_factory=list)
    unnamed_bytes: int = 0
    naming: Future[list[bytes]] | None = None

    def add_unnamed(self, item: Item, entry: Entry, content: bytes) -> None:
        self.unnamed.append((len(self.done), item, entry, content))
        self.unnamed_bytes += len(content)
        self.done.append(_GAP)

    @property
    def is_full(self) -> bool:
        return self.unnamed_bytes >= _BATCH_BYTES or len(self.done) >= _BATCH_ITEMS


def merge(
    items: Iterator[Item], before: Iterator[Remembered]
) -> Iterator[tuple[Item, Remembered | None]]:
    """Each item with what is remembered of its path. Both come in order, so memory is bounded."""
    known = next(before, None)
    known_key = sort_key(known.entry.path) if known else b""
    for item in items:
        key = sort_key(item.path)
        while known is not None and known_key < key:
            known = next(before, None)
            known_key = sort_key(known.entry.path) if known else b""
        yield item, known if known is not None and known_key == key else None


def _remembered(item: Item, entry: Entry, leaves: bytes = b"") -> Remembered:
    """What was not read whole is read again next time, whatever its signature."""
    return Remembered(b"" if entry.problem else item.signature, entry, leaves)


def with_content(entry: Entry, blobs: bytes, *, indirect: bool = False) -> Entry:
    return replace(entry, blobs=blobs, indirect=indirect) if blobs else entry
