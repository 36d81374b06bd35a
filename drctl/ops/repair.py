"""Mend what a verification found damaged or missing.

A sound one from another repository takes its place. Where there is none, what is sound in a
damaged pack is saved to a new one and the pack goes to the trash: a later backup would lean on it
as long as it lies there, and now stores anew what its source still has. No sweep begins meanwhile,
since it might count on what is being taken away; where one has begun, packs stay as they are. What
is damaged in the trash itself no copy has: it only tells what is to go, which a prune finds anew.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from msgspec import Struct, field
from msgspec.structs import replace

from drctl.clock import Clock, Randomness
from drctl.codec.recipients import Identity
from drctl.codec.table import PackTable, Segment
from drctl.errors import IntegrityError, KeyUnavailable, NotFound, StorageError, Unreadable
from drctl.events import Notice, Phase, Reporter
from drctl.ops.replicate import refuse_another
from drctl.ops.transfer import damage_of, proven, put_proven
from drctl.ops.verify import rebuild_index
from drctl.repository import holds, keyring, names, rewrite, runs, standins
from drctl.repository.index import Index
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.repository.runs import Run
from drctl.storage.base import Storage

_NO_COPY = "no other repository of the plan has it sound"
_FOREIGN = "no object is called so: it hinders nothing, and may be removed by hand"
_SWEPT = "a prune is deleting there, or was killed while it did"
_TOLD = {
    names.MARKS: "what it said is to go, the next prune finds anew",
    names.SWEPT: "it told which refs a prune took of late",
    names.TRASHED: "the snapshot had been removed; nobody can bring it back any more",
}


class RepairResult(Struct):
    """By names of objects: where a sound one came from; how much of a pack was saved before it went
    to the trash; for whom a key was made again; what was taken away, and what it had told; why one
    is as it was."""

    fetched: dict[str, str] = field(default_factory=dict)
    saved: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def with_more(self, more: "RepairResult") -> "RepairResult":
        """What was mended before, and then."""
        return replace(more, fetched=self.fetched | more.fetched, made=self.made | more.made)


class Hands(Struct, frozen=True):
    """What a repair has to work with: other repositories, and as many keys as there are."""

    storage: Storage
    copies: Sequence[Storage]
    repository: Repository | None
    identity: Identity | None
    pool: Executor
    report: Reporter


def repair(
    hands: Hands, damaged: Iterable[str], clock: Clock, randomness: Randomness
) -> RepairResult:
    """Raises StorageError when the repository itself fails."""
    storage, result = hands.storage, RepairResult()
    hands.report.emit(Phase(f"mending {storage.where}"))
    sources = [copy for copy in hands.copies if _answers(copy, hands)]
    with runs.running(storage, randomness, clock, reviving=True) as run:
        indexes = []
        # A prune that was killed may need refs or an index to come to its end, never a pack.
        waiting = (names.PACKS, names.SESSIONS) if any(storage.list(names.SWEEPING)) else ()
        for name in sorted(damaged, key=_rank):
            if name.startswith(waiting):
                result.left[name] = f"{_SWEPT}: run 'drctl prune' to its end, then this again"
            elif where := _fetch(sources, storage, name):
                result.fetched[name] = where
            elif name.startswith((*names.HASHED, names.SESSIONS)) and not names.is_id(name):
                result.left[name] = _FOREIGN
            elif name.startswith(names.INDEX) and hands.repository:
                indexes.append(name)
            else:
                _save(hands, run, name, result)
        _index_anew(hands, run, indexes, result)
    return result


def _rank(name: str) -> tuple[int, str]:
    """In the order of a copy: sessions before the packs that they open."""
    folders = names.COPY_ORDER
    return next((i for i, f in enumerate(folders) if name.startswith(f)), len(folders)), name


def _answers(copy: Storage, hands: Hands) -> bool:
    try:
        refuse_another(copy, hands.storage)
        copy.head(names.CONFIG)
    except StorageError as error:
        hands.report.emit(Notice("warning", f"nothing is taken from {copy.where}: {error.what}"))
        return False
    return True


def _fetch(sources: Iterable[Storage], storage: Storage, name: str) -> str:
    """Where a sound one was found, which is in its place now; empty: nowhere."""
    for source, alike in ((source, alike) for source in sources for alike in _alike(name)):
        try:
            data = proven(source, alike)
        except (StorageError, IntegrityError):
            continue  # another one may have it
        put_proven(storage, name, data)
        if not damage_of(storage, name):
            return source.where
    return ""


def _alike(name: str) -> Iterator[str]:
    """What holds the same bytes: another repository may not have removed the snapshot."""
    yield name
    if name.startswith(names.TRASHED):
        yield names.SNAPSHOTS + names.digest_of(name)


# -- packs ----------------------------------------------------------------------------------------


def _save(hands: Hands, run: Run, name: str, result: RepairResult) -> None:
    """What is sound in a pack that nobody else has; a key, which can be made again."""
    if name.startswith(names.KEYS) and hands.repository:
        _make_key(hands.repository, name, result)
    elif name.startswith(tuple(_TOLD)):
        _drop(hands.storage, run, name, result)
    elif not name.startswith(names.PACKS):
        is_hold = name.startswith(names.HOLDS)
        result.left[name] = f"{_NO_COPY}; {holds.CURE}" if is_hold else _NO_COPY
    elif hands.repository is None or hands.identity is None:
        result.left[name] = f"{_NO_COPY}; with an identity what is sound in it would be saved"
    else:
        try:
            result.saved[name] = _save_pack(hands.repository, hands.identity, run, name)
        except (IntegrityError, KeyUnavailable, NotFound) as error:
            result.left[name] = error.what


def _make_key(repository: Repository, name: str, result: RepairResult) -> None:
    recipient = keyring.may_make(repository, name)
    if recipient is None:
        result.left[name] = f"{_NO_COPY}, and the keys at hand are not for that recipient"
        return
    keyring.put_key(repository.storage, repository.secrets, recipient)
    result.made[name] = recipient.name


def _drop(storage: Storage, run: Run, name: str, result: RepairResult) -> None:
    """As with a pack, no sweep begins meanwhile; one that has begun goes by what it read before."""
    sweeps = f"{names.SWEEPING}{names.digest_of(name)}/"
    if any(storage.list(sweeps)):
        result.left[name] = f"{_SWEPT}: when none is running, remove it and {sweeps} by hand"
        return
    _set_aside(storage, run, name)
    result.dropped[name] = next(told for folder, told in _TOLD.items() if name.startswith(folder))


def _save_pack(repository: Repository, identity: Identity, run: Run, name: str) -> str:
    table = _table_of(repository, name)
    reader = Reader(repository, Index(), identity)  # it is told where each segment lies
    for session in {segment.session for segment in table.segments}:
        reader.must_open(session)  # what does not open for want of a key is not damaged
    sound = _sound(repository, reader, table, name)
    counted: list[Segment] = []
    made = rewrite.pack_anew(repository, _counting(sound, counted))
    # What the lost segments held stays told: who needs them needs what it is stored in next.
    rewrite.put_index(repository, [*made, table])
    _set_aside(repository.storage, run, name)
    return f"{len(counted)} of its {len(table.segments)} segments"


def _table_of(repository: Repository, name: str) -> PackTable:
    """What lies where in a pack: an index knows it, too, if the pack's own table is damaged."""
    with suppress(IntegrityError, NotFound):
        return repository.read_toc(repository.storage.head(name))
    digest = bytes.fromhex(names.digest_of(name))
    for info in repository.storage.list(names.INDEX):
        with suppress(IntegrityError, NotFound):
            for table in standins.tables_of(repository, [names.digest_of(info.name)]):
                if table.name == digest:
                    return table
    raise IntegrityError(f"{repository.where}: nothing tells any more what lies where in {name}")


def _sound(
    repository: Repository, reader: Reader, table: PackTable, name: str
) -> Iterator[tuple[Segment, bytes]]:
    """The segments that open and hold what the table says. Each is read by itself: the medium may
    give some and not others."""
    for segment in table.segments:
        try:
            sealed = repository.read(name, segment.offset, segment.stored_bytes)
            reader.check_segment(name, segment, memoryview(sealed))
        except IntegrityError:
            continue  # this one is lost
        yield segment, sealed


def _counting(
    sound: Iterator[tuple[Segment, bytes]], counted: list[Segment]
) -> Iterator[tuple[Segment, bytes]]:
    for segment, sealed in sound:
        counted.append(segment)
        yield segment, sealed


def _set_aside(storage: Storage, run: Run, name: str) -> None:
    """To the trash, where it is kept for the grace period."""
    with suppress(Unreadable):
        storage.put(names.DAMAGED + names.digest_of(name), storage.get(name), replace=True)
    _delete(storage, run, name)


def _delete(storage: Storage, run: Run, name: str) -> None:
    if not run.stands():
        raise StorageError(
            f"{storage.where}: this run was taken for dead by a prune: {name} stays",
            hint="run it again; what was mended is mended",
        )
    storage.delete(name)


# -- indexes --------------------------------------------------------------------------------------


def _index_anew(hands: Hands, run: Run, damaged: list[str], result: RepairResult) -> None:
    """What a damaged index said is read from the packs, and it goes."""
    if damaged and hands.repository:
        rebuild_index(hands.repository, hands.report)
        for name in damaged:
            _delete(hands.storage, run, name)
            result.saved[name] = "what it said was read from the packs"
