"""The walk of a restore: snapshot -> entries -> reads by pack -> target -> finish.

What can be restored is: damage to one entry is told and the others still come back, and the run
then ends as an integrity error. Several threads read and write small files; they also read the
pieces of large ones, and write them where the target takes them in any order.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, wait

from msgspec import Struct, field
from msgspec.structs import replace

from drctl.clock import Clock
from drctl.codec.entries import BlockInfo, Root
from drctl.engines.base import Scattered, Target
from drctl.errors import IntegrityError
from drctl.events import EntryProblem, Notice, Phase, Progress, Reporter
from drctl.model import Entry, Kind, Problem, Snapshot
from drctl.ops.restore_steps import Large, Step, fetched_ahead, steps
from drctl.repository.reader import Reader, is_wanted
from drctl.units import show_path
from drctl.workers import Turns

_AHEAD = 8  # steps in the pool, of about 2 MiB each
_TELL_EVERY_SECONDS = 0.1
_GRACE_SECONDS = 2.0  # for what is being written; who waits for a dead storage waits for minutes


class RestoreResult(Struct, frozen=True):
    """`entries` came back, with `size_bytes`. `problems`: those that are not as they were, or not
    back at all; `damaged` among them count damage."""

    snapshot: Snapshot
    entries: int
    size_bytes: int
    problems: tuple[EntryProblem, ...]
    damaged: int
    seconds: float


class _Run(Struct):
    """What a restore carries along."""

    reader: Reader
    target: Target
    pool: Executor
    report: Reporter
    clock: Clock
    total_bytes: int
    total_entries: int
    waiting: deque[tuple[Step, Future["_Done"]]] = field(default_factory=deque)
    open: list[Large] = field(default_factory=list)
    problems: list[EntryProblem] = field(default_factory=list)
    damaged: int = 0
    entries: int = 0
    size_bytes: int = 0
    lost_entries: int = 0
    lost_bytes: int = 0
    told_at: float = 0.0
    is_over: bool = False  # broken off: whoever still reads writes nothing any more


class _Found(Struct, frozen=True):
    """What is wrong with an entry; `is_back` all the same."""

    problem: Problem
    entry: Entry
    is_damage: bool = False
    is_back: bool = False


class _Done(Struct, frozen=True):
    """What the pool gives for a step."""

    found: Sequence[_Found] = ()
    content: Sequence[memoryview] = ()  # of a piece of a large file, to be written in order
    written_bytes: int = 0  # of one that is written


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
    run = _Run(reader, target, Turns(pool), report, clock, *totals)
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
    """What has content goes through the pool, everything else is made in order from here."""
    with run.reader.ahead() as ahead:
        try:
            for step in fetched_ahead(run.reader, ahead, steps(run.reader, entries)):
                if step.is_plain:
                    _put_plain(run, step.entries[0])
                    _count(run, step)
                else:
                    _open(run, step.large)
                    run.waiting.append((step, run.pool.submit(_work, run, step)))
                    _settle(run, _AHEAD)
                _tell(run)
            _settle(run, 0)
        finally:
            _break_off(run)


def _break_off(run: _Run) -> None:
    """Where all went well nothing is left to do here. None may write to what is closed: what
    somebody still reads for stays open, in a target that bears its mark."""
    run.is_over = True
    for _, work in run.waiting:
        work.cancel()
    wait([work for _, work in run.waiting], _GRACE_SECONDS)
    late = [step.large for step, work in run.waiting if not work.done()]
    for large in run.open:
        if large not in late:
            _abort(large)


def _work(run: _Run, step: Step) -> _Done:
    """In the pool."""
    if step.large is None:
        return _Done(_put_batch(run, step))
    if step.large.lost:
        return _Done()
    pieces = run.reader.content(step.blobs(), step.coming)
    if run.is_over or not isinstance(step.large.writing, Scattered):
        return _Done(content=pieces)
    step.large.writing.write_at(step.offset, pieces)
    return _Done(written_bytes=sum(map(len, pieces)))


def _settle(run: _Run, most: int) -> None:
    """Wait until at most `most` steps are under way, and conclude the others in their order."""
    while len(run.waiting) > most:
        step, work = run.waiting.popleft()
        if step.large:
            _put_piece(run, step, step.large, work)
        else:
            for found in work.result().found:
                _tell_found(run, found)
        _count(run, step)


def _count(run: _Run, step: Step) -> None:
    run.entries += len(step.entries)
    if not step.large:  # else piece by piece
        run.size_bytes += sum(entry.size for entry in step.entries)


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


def _put_batch(run: _Run, step: Step) -> list[_Found]:
    """In the pool. When one blob of the batch is damaged, each entry is read by itself, so that
    only those that need it are lost."""
    try:
        blobs = iter(run.reader.blobs(step.blobs(), step.coming))
    except IntegrityError as error:
        if len(step.entries) == 1:
            return [_Found(Problem(step.entries[0].path, error.what), step.entries[0], True)]
        singles = zip(step.entries, step.ids, strict=True)
        return [found for entry, ids in singles for found in _put_batch(run, Step([entry], [ids]))]
    found = []
    for entry, own in zip(step.entries, step.ids, strict=True):
        if run.is_over:
            break
        parts = [next(blobs) for _ in own]
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        found += _put_one(run.target, entry, content)
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


def _open(run: _Run, large: Large | None) -> None:
    """Before the first of its pieces."""
    if large and large.writing is None and not large.lost:
        large.writing = run.target.open_large(large.entry)
        run.open.append(large)


def _put_piece(run: _Run, step: Step, large: Large, work: Future[_Done]) -> None:
    """The next piece of a large file has come; or its end."""
    try:
        done = work.result()
        size_bytes = done.written_bytes + sum(map(len, done.content))
        if large.writing and not large.lost:
            for piece in done.content:
                large.writing.write(piece)
            large.written_bytes += size_bytes
            run.size_bytes += size_bytes
    except IntegrityError as error:
        large.lost = large.lost or error.what
    if step.entries:
        _close(run, large)


def _close(run: _Run, large: Large) -> None:
    """All pieces have come, or one of them was lost."""
    entry = large.entry
    run.size_bytes += entry.size - large.written_bytes
    if not large.lost and large.written_bytes != content_bytes(entry):
        large.lost = _wrong_size(entry, large.written_bytes).what
    if large in run.open:
        run.open.remove(large)
    if large.lost:
        _abort(large)
        _tell_found(run, _Found(Problem(entry.path, large.lost), entry, is_damage=True))
        return
    problem = large.writing.close() if large.writing else None
    if problem:
        _tell_found(run, _Found(problem, entry))
    if entry.problem:
        _tell_problem(run, _was_not_whole(entry))


def _abort(large: Large) -> None:
    if large.writing:
        large.writing.abort()


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
