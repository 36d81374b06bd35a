"""Every locked snapshot is whole until its own date: whatever it needs is locked as long, also the
packs that earlier runs wrote, and the session of a log that began long before it."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import cache, partial

from drctl.codec import documents
from drctl.errors import IntegrityError, NotFound
from drctl.events import Notice, Phase, Reporter
from drctl.model import Snapshot
from drctl.repository import catalog, log, names
from drctl.repository.index import Index
from drctl.repository.locks import LockBook
from drctl.repository.repository import Repository
from drctl.units import count


def keep_locked(
    repository: Repository, book: LockBook, now_ns: int, pool: Executor, report: Reporter
) -> int:
    """See to the snapshots that came since the last time. Gives how many. Raises StorageError."""
    found = catalog.load(repository, pool)
    new = [
        s
        for s in found.snapshots
        if s.finished_at_ns + book.period_ns > now_ns and not book.is_done(s.name)
    ]
    if not new:
        return 0
    told = count(len(new), "new snapshot needs", "new snapshots need")
    report.emit(Phase(f"locking in {repository.where} what {told}"))
    packs = _packs(repository.load_index(lambda _: None, pool, only_present=True))
    always = always_needed(repository)
    pieces = cache(partial(log.listed, repository.storage))  # many snapshots share one log
    for snapshot in new:
        until_ns = snapshot.finished_at_ns + book.period_ns
        try:
            needed = [*always, *_needs(repository, snapshot, packs)]
            if stream := snapshot.facts.get("log_stream"):
                needed += log.needed(pieces(stream), snapshot.facts.get("log_first", ""))
        except (IntegrityError, NotFound) as error:
            report.emit(Notice("warning", f"snapshot {snapshot.short} is not locked: {error.what}"))
            continue
        tell_lost(repository, book.hold_until(needed, until_ns, pool), report)
        book.mark_done(snapshot.name, until_ns)
    return len(new)


def tell_lost(repository: Repository, lost: Iterable[str], report: Reporter) -> None:
    """What is not there cannot be locked: a look with `verify` is due. Only a part of a log goes
    when a whole piece covers it."""
    for name in lost:
        if name.startswith(names.LOG):
            continue
        text = f"{repository.where}: {name} is not there to be locked: see 'drctl verify'"
        report.emit(Notice("warning", text))


def always_needed(repository: Repository) -> list[str]:
    """What every snapshot needs."""
    folders = (names.KEYS, names.INDEX)
    listed = (info.name for folder in folders for info in repository.storage.list(folder))
    return [names.CONFIG, *listed]


def _packs(index: Index) -> dict[bytes, Sequence[tuple[int, str]]]:
    """In which pack each segment lies: the numbers of each session, ascending."""
    found: dict[bytes, dict[int, str]] = {}
    for place in (index.place(ordinal) for ordinal in range(index.segments)):
        pack = names.named(names.PACKS, place.pack.hex())
        found.setdefault(place.session, {})[place.number] = pack
    return {session: sorted(packs.items()) for session, packs in found.items()}


def _needs(
    repository: Repository, snapshot: Snapshot, packs: Mapping[bytes, Sequence[tuple[int, str]]]
) -> set[str]:
    """Refs may claim more segments than there could ever be: only those that are there are looked
    at."""
    plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, snapshot.refs)
    needed = {names.SNAPSHOTS + snapshot.name, names.REFS + snapshot.refs}
    for session, runs in documents.decode_refs(plain).segments.items():
        needed.add(names.SESSIONS + session.hex())
        there = packs.get(session, ())
        for first, many in zip(runs[::2], runs[1::2], strict=True):
            begin, end = (bisect_left(there, (number, "")) for number in (first, first + many))
            needed.update(pack for _, pack in there[begin:end])
    return needed
