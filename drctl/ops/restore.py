"""The walk of a restore: snapshot -> entries -> reads by pack -> target -> finish.

What can be restored is: damage to one entry is told and the others still come back, and the run
then ends as an integrity error. Several threads read and write small files; large files are read
ahead in the pool and written in order.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from msgspec.structs import replace

from drctl.clock import Clock
from drctl.codec.entries import BlockInfo, Root
from drctl.codec.limits import SMALL_BYTES
from drctl.engines.base import Target
from drctl.errors import IntegrityError
from drctl.events import EntryProblem, Notice, Phase, Progress, Reporter
from drctl.model import Entry, Kind, Problem, Snapshot
from drctl.repository.reader import Reader, is_wanted
from drctl.units import show_path

_BATCH_BYTES = 2 << 20
_BATCH_ENTRIES = 256
_AHEAD = 8  # batches in flight
_WINDOWS_AHEAD = 4  # of a large file, 4 MiB each
_TELL_EVERY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """`entries` came back, with `size_bytes`. `problems`: those that are not as they were, or not
    back at all; `damaged` among them count damage."""

    snapshot: Snapshot
    entries: int
    size_bytes: int
    problems: tuple[EntryProblem, ...]
    damaged: int
    seconds: float


@dataclass(slots=True)
class _Run:
    """What a restore carries along."""

    reader: Reader
    target: Target
    pool: Executor
    report: Reporter
    clock: Clock
    total_bytes: int
    total_entries: int
    waiting: deque[Future[list["_Found"]]] = field(default_factory=deque)
    problems: list[EntryProblem] = field(default_factory=list)
    damaged: int = 0
    entries: int = 0
    size_bytes: int = 0
    lost_entries: int = 0
    lost_bytes: int = 0
    told_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Found:
    """What is wrong with an entry; `is_back` all the same."""

    problem: Problem
    entry: Entry
    is_damage: bool = False
    is_back: bool = False


def restore(
    snapshot: Snapshot,
    reader: Reader,
    target: Target,
    pool: Executor,
    clock: Clock,
    report: Reporter,
    wanted: Sequence[bytes] = (),
) -> RestoreResult:
    """Put a snapshot, or the paths in `wanted` with all below, into a prepared target.

    Raises TargetRefused, StorageError, KeyUnavailable, IntegrityError (when nothing could be
    read at all); damage to single entries is in the result.
    """
    began = clock.monotonic_seconds()
    report.emit(Phase(f"restoring {snapshot.asset} from snapshot {snapshot.short}"))
    root = reader.root(snapshot.root)
    target.prepare()
    totals = (0, 0) if wanted else (snapshot.size_bytes, snapshot.entries)
    run = _Run(reader, target, pool, report, clock, *totals)
    _put_entries(run, _chosen(run, root, wanted))
    for problem in target.finish():
        run.lost_entries += problem.absent  # a hard link, which has no bytes of its own
        _tell_problem(run, problem)
    seconds = clock.monotonic_seconds() - began
    return RestoreResult(
        snapshot,
        run.entries - run.lost_entries,
        run.size_bytes - run.lost_bytes,
        tuple(run.problems),
        run.damaged,
        seconds,
    )


def _chosen(run: _Run, root: Root, wanted: Sequence[bytes]) -> Iterator[Entry]:
    """The entries asked for. Where the first name of a file is not among them, the next one takes
    its content, and further ones are links to that."""

    def lost(block: BlockInfo, error: IntegrityError) -> None:
        what = f"up to {block.entries} entries from here on are lost: {error.what}"
        _tell_problem(run, Problem(block.first, what), is_damage=True)

    stand_ins: dict[bytes, bytes] = {}
    for entry in run.reader.entries(root, wanted, lost):
        first = entry.link
        if entry.kind != Kind.HARDLINK or not wanted or is_wanted(first, wanted):
            yield entry
        elif first in stand_ins:
            yield replace(entry, link=stand_ins[first])
        else:
            stand_ins[first] = entry.path
            whole = next(run.reader.entries(root, [first], lost), entry)
            yield replace(whole, path=entry.path)


def _put_entries(run: _Run, entries: Iterator[Entry]) -> None:
    """Small files go in batches to the pool, everything else in order from here."""
    batch: list[Entry] = []
    batch_bytes = 0
    try:
        for entry in entries:
            run.entries += 1
            run.size_bytes += entry.size
            if not _has_content(entry):
                _put_plain(run, entry)
            elif entry.size <= SMALL_BYTES and not entry.indirect:
                batch.append(entry)
                batch_bytes += entry.size
            else:
                _put_large(run, entry)
            if batch_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_ENTRIES:
                _submit(run, batch)
                batch, batch_bytes = [], 0
        _submit(run, batch)
        _settle(run, 0)
    finally:
        for work in run.waiting:
            work.cancel()


def _has_content(entry: Entry) -> bool:
    return entry.kind == Kind.FILE and not (entry.problem and not entry.blobs)


def _put_plain(run: _Run, entry: Entry) -> None:
    if entry.kind == Kind.FILE:
        what = f"is not in the snapshot: {entry.problem}"
        _tell_found(run, _Found(Problem(entry.path, what), entry))
        return
    if entry.problem:
        _tell_problem(run, _was_not_whole(entry))
    problem = run.target.put_plain(entry)
    if problem:
        _tell_found(run, _Found(problem, entry))


# -- small files ----------------------------------------------------------------------------------


def _submit(run: _Run, batch: list[Entry]) -> None:
    if batch:
        run.waiting.append(run.pool.submit(_put_batch, run.reader, run.target, batch))
        _settle(run, _AHEAD)
        _tell(run)


def _settle(run: _Run, most: int) -> None:
    """Wait until at most `most` batches are under way, and take what they found."""
    while len(run.waiting) > most:
        for found in run.waiting.popleft().result():
            _tell_found(run, found)


def _put_batch(reader: Reader, target: Target, batch: list[Entry]) -> list[_Found]:
    """In the pool. When one blob of the batch is damaged, each entry is read by itself, so that
    only those that need it are lost."""
    ids = [reader.leaves(entry) for entry in batch]
    try:
        blobs = iter(reader.blobs([blob_id for own in ids for blob_id in own]))
    except IntegrityError as error:
        if len(batch) == 1:
            return [_Found(Problem(batch[0].path, error.what), batch[0], is_damage=True)]
        return [found for entry in batch for found in _put_batch(reader, target, [entry])]
    found = []
    for entry, own in zip(batch, ids, strict=True):
        parts = [next(blobs) for _ in own]
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        found += _put_one(target, entry, content)
    return found


def _put_one(target: Target, entry: Entry, content: bytes | memoryview) -> list[_Found]:
    if len(content) != content_bytes(entry):
        return [_Found(_wrong_size(entry, len(content)), entry, is_damage=True)]
    problem = target.put_small(entry, content)
    found = [_Found(problem, entry)] if problem else []
    if entry.problem:
        found.append(_Found(_was_not_whole(entry), entry, is_back=True))
    return found


def content_bytes(entry: Entry) -> int:
    """How long the content of an entry is: for a sparse file, its data without the holes."""
    return sum(entry.extents[1::2]) if entry.extents else entry.size


def _wrong_size(entry: Entry, found_bytes: int) -> Problem:
    wanted = content_bytes(entry)
    return Problem(entry.path, f"its content is {found_bytes} bytes long instead of {wanted}")


def _was_not_whole(entry: Entry) -> Problem:
    return Problem(entry.path, f"was not whole when it was saved: {entry.problem}")


# -- large files ----------------------------------------------------------------------------------


def _put_large(run: _Run, entry: Entry) -> None:
    """One file, read ahead in the pool."""
    writing = run.target.open_large(entry)
    try:
        written = 0
        for blob in _read_ahead(run, run.reader.leaves(entry)):
            writing.write(blob)
            written += len(blob)
            _tell(run)
    except IntegrityError as error:
        writing.abort()
        _tell_found(run, _Found(Problem(entry.path, error.what), entry, is_damage=True))
        return
    except BaseException:
        writing.abort()
        raise
    if written != content_bytes(entry):
        writing.abort()
        _tell_found(run, _Found(_wrong_size(entry, written), entry, is_damage=True))
        return
    problem = writing.close()
    if problem:
        _tell_found(run, _Found(problem, entry))
    if entry.problem:
        _tell_problem(run, _was_not_whole(entry))


def _read_ahead(run: _Run, ids: Sequence[bytes]) -> Iterator[memoryview]:
    """The blobs in order, a few windows of them under way."""
    windows: deque[Future[list[memoryview]]] = deque()
    try:
        for window in run.reader.windows(ids):
            windows.append(run.pool.submit(run.reader.blobs, window))
            if len(windows) > _WINDOWS_AHEAD:
                yield from windows.popleft().result()
        while windows:
            yield from windows.popleft().result()
    finally:
        for work in windows:
            work.cancel()


# -- telling --------------------------------------------------------------------------------------


def _tell_found(run: _Run, found: _Found) -> None:
    if not found.is_back:
        run.lost_entries += 1
        run.lost_bytes += found.entry.size
    _tell_problem(run, found.problem, is_damage=found.is_damage)


def _tell_problem(run: _Run, problem: Problem, *, is_damage: bool = False) -> None:
    told = EntryProblem(show_path(problem.path), problem.what)
    if problem.expected:
        run.report.emit(Notice("warning", f"{told.path}: {told.what}"))
        return
    run.problems.append(told)
    run.damaged += is_damage
    run.report.emit(told)


def _tell(run: _Run) -> None:
    now = run.clock.monotonic_seconds()
    if now - run.told_at >= _TELL_EVERY_SECONDS:
        run.told_at = now
        run.report.emit(Progress(run.size_bytes, run.total_bytes, run.entries, run.total_entries))
