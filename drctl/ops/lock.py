"""Every locked snapshot is whole until its own date: whatever it needs is locked as long, also the
packs that earlier runs wrote."""

from collections.abc import Iterable
from concurrent.futures import Executor

from drctl.codec import documents
from drctl.errors import IntegrityError, NotFound
from drctl.events import Notice, Phase, Reporter
from drctl.model import Snapshot
from drctl.repository import catalog, names
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
    for snapshot in new:
        until_ns = snapshot.finished_at_ns + book.period_ns
        try:
            needed = [*always, *_needs(repository, snapshot, packs)]
        except (IntegrityError, NotFound) as error:
            report.emit(Notice("warning", f"snapshot {snapshot.short} is not locked: {error.what}"))
            continue
        tell_lost(repository, book.hold_until(needed, until_ns, pool), report)
        book.mark_done(snapshot.name, until_ns)
    return len(new)


def tell_lost(repository: Repository, lost: Iterable[str], report: Reporter) -> None:
    """What is not there cannot be locked: a look with `verify` is due."""
    for name in lost:
        text = f"{repository.where}: {name} is not there to be locked: see 'drctl verify'"
        report.emit(Notice("warning", text))


def always_needed(repository: Repository) -> list[str]:
    """What every snapshot needs."""
    folders = (names.KEYS, names.INDEX)
    listed = (info.name for folder in folders for info in repository.storage.list(folder))
    return [names.CONFIG, *listed]


def _packs(index: Index) -> dict[tuple[bytes, int], str]:
    """Which pack each segment lies in."""
    places = (index.place(ordinal) for ordinal in range(index.segments))
    return {(p.session, p.number): names.named(names.PACKS, p.pack.hex()) for p in places}


def _needs(
    repository: Repository, snapshot: Snapshot, packs: dict[tuple[bytes, int], str]
) -> set[str]:
    plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, snapshot.refs)
    needed = {names.SNAPSHOTS + snapshot.name, names.REFS + snapshot.refs}
    for session, runs in documents.decode_refs(plain).segments.items():
        needed.add(names.SESSIONS + session.hex())
        for first, many in zip(runs[::2], runs[1::2], strict=True):
            numbers = range(first, first + many)
            needed.update(pack for n in numbers if (pack := packs.get((session, n))))
    return needed
