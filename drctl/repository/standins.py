"""What stands in for a segment that was lost: other segments, in which its blobs were stored again.

Refs name segments, and never change. When a pack was lost and a later run stored its content anew,
an older snapshot reads from the new segments, though its refs do not name them. The index objects
that named the lost pack still tell which blobs it held. So what is needed is told by both, and
these index objects stay as long as a snapshot needs what they tell of.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Protocol

from msgspec import Struct, field

from drctl.codec import documents
from drctl.codec.documents import Refs
from drctl.codec.segment import is_oversized
from drctl.codec.table import PackTable, Segment, decode
from drctl.errors import IntegrityError, NotFound
from drctl.repository import names
from drctl.repository.index import Index
from drctl.repository.repository import Repository
from drctl.storage.base import ObjectInfo

SegmentId = tuple[bytes, int]  # session, number


class Needed(Protocol):
    """Tells which segments are needed."""

    def __contains__(self, segment: SegmentId, /) -> bool: ...


class Lost(Struct):
    """What index objects tell of packs that are gone, are cut short, or have no session any more,
    and of segments that are too large to be read: the blobs of each segment, and which index
    objects told it."""

    packs: Mapping[str, ObjectInfo]
    sessions: Collection[str]
    broken: set[str] = field(default_factory=set)  # packs
    blobs: dict[SegmentId, tuple[bytes, ...]] = field(default_factory=dict)
    told_by: dict[SegmentId, set[str]] = field(default_factory=dict)
    oversized: set[SegmentId] = field(default_factory=set)  # wherever they lie

    def is_whole(self, table: PackTable) -> bool:
        """Whether its segments can be read."""
        info = self.packs.get(table.name.hex())
        end = max((s.offset + s.stored_bytes for s in table.segments), default=0)
        here = all(
            session.hex() in self.sessions for session in {s.session for s in table.segments}
        )
        return info is not None and info.size_bytes >= end and here

    def note(self, index: str, table: PackTable) -> None:
        """Take in what an index object tells of a pack."""
        is_whole = self.is_whole(table)
        if not is_whole:
            self.broken.add(table.name.hex())
        large = [s for s in table.segments if is_oversized(s.raw_bytes)]
        self.oversized.update((s.session, s.number) for s in large)
        for segment in large if is_whole else table.segments:
            name = segment.session, segment.number
            self.blobs[name] = tuple(blob for blob, _ in segment.blobs)
            self.told_by.setdefault(name, set()).add(index)

    def without(self, present: Iterable[SegmentId]) -> None:
        """These are to be had elsewhere, byte for byte."""
        for name in present:
            if name not in self.oversized:
                self.blobs.pop(name, None)

    def keep(self, needs: Needed) -> None:
        """Only what is needed."""
        self.blobs = {name: blobs for name, blobs in self.blobs.items() if name in needs}

    def telling(self) -> dict[str, frozenset[SegmentId]]:
        """Index objects, and the lost segments that each tells of."""
        found: dict[str, set[SegmentId]] = {}
        for name in self.blobs:
            for index in self.told_by[name]:
                found.setdefault(index, set()).add(name)
        return {index: frozenset(segments) for index, segments in found.items()}


def stand_ins(
    repository: Repository, lost: Lost, index: Mapping[str, frozenset[str]]
) -> dict[SegmentId, frozenset[SegmentId]]:
    """For each lost segment all segments that hold a blob of it. `index`: what each names."""
    wanted = {blob for blobs in lost.blobs.values() for blob in blobs}
    holders: dict[bytes, set[SegmentId]] = {}
    for segment in _segments(repository, lost, index):
        for blob, _ in segment.blobs:
            if blob in wanted:
                holders.setdefault(blob, set()).add((segment.session, segment.number))
    return {
        name: frozenset(held for blob in blobs for held in holders.get(blob, ()))
        for name, blobs in lost.blobs.items()
    }


def _segments(
    repository: Repository, lost: Lost, index: Mapping[str, frozenset[str]]
) -> Iterator[Segment]:
    """Of the packs that are whole, as indexes or else the packs themselves tell."""
    for digest in index:
        with suppress(NotFound):  # another collection was faster: others tell what it told
            for table in list(tables_of(repository, [digest])):
                if lost.is_whole(table):
                    yield from table.segments
    named = {pack for packs in index.values() for pack in packs}
    for digest in lost.packs.keys() - named:
        with suppress(NotFound, IntegrityError):
            table = repository.read_toc(lost.packs[digest])
            if lost.is_whole(table):
                yield from table.segments


def tables_of(repository: Repository, digests: Iterable[str]) -> Iterator[PackTable]:
    """The tables that index objects hold."""
    for digest in digests:
        yield from decode(repository.get_meta(names.INDEX, documents.INDEX_MAGIC, digest))


def with_more(refs: Refs, more: Iterable[SegmentId]) -> Refs:
    """Refs that name some segments more."""
    segments = {session: list(runs) for session, runs in refs.segments.items()}
    for session, number in more:
        segments.setdefault(session, []).extend((number, 1))
    return Refs(segments)


def stood_in(repository: Repository, needs: Needed, index: Index) -> int:
    """How many needed segments that the index does not have hold a blob that it has. Nobody can
    tell which blobs of a segment are needed: it may hold some that only older snapshots had."""
    told = blobs_of(repository, needs)
    here = index.segment_ids()
    return sum(s not in here and any(b in index for b in blobs) for s, blobs in told.items())


def blobs_of(repository: Repository, wanted: Needed) -> dict[SegmentId, tuple[bytes, ...]]:
    """What index objects tell of segments, of lost ones, too. A damaged one tells nothing."""
    found = {}
    for info in list(repository.storage.list(names.INDEX)):
        with suppress(NotFound, IntegrityError):
            for table in tables_of(repository, [names.digest_of(info.name)]):
                for segment in table.segments:
                    name = segment.session, segment.number
                    if name in wanted:
                        found[name] = tuple(blob for blob, _ in segment.blobs)
    return found
