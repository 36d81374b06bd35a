"""Every pack that a snapshot needs is there and long enough; of one that is not, who needs it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol

from drctl.codec.documents import Refs
from drctl.model import Snapshot
from drctl.repository import names, standins
from drctl.repository.index import Index
from drctl.repository.repository import Repository
from drctl.repository.standins import SegmentId
from drctl.repository.survey import Needs
from drctl.units import count, show_bytes

_NAMED = 8  # snapshots


class Wrong(Protocol):
    """Takes one sentence about one thing that is wrong, and the object that is damaged or missing,
    where it is one."""

    def __call__(self, what: str, name: str = "") -> None: ...


class Needers:
    """Snapshots with their refs. One whose refs do not read, or are not known, may need anything:
    `are_all_known` tells whether there is none."""

    def __init__(
        self, index: Index, snapshots: Sequence[Snapshot], refs: Sequence[Refs | str], damaged: int
    ) -> None:
        pairs = zip(snapshots, refs, strict=True)
        self._refs = [(s, needed) for s, needed in pairs if not isinstance(needed, str)]
        self._index = index
        self.are_all_known = len(self._refs) == len(refs) and not damaged

    def needs(self) -> Needs | None:
        """Of all of them; None: nobody can tell."""
        return Needs(refs for _, refs in self._refs) if self.are_all_known else None

    def told(self, segments: Collection[SegmentId]) -> str:
        """Which snapshots need any of these, as the end of a sentence; empty: none."""
        found = self._needing(segments)
        if not found:
            return ""
        shown = ", ".join(f"{s.short} of {s.asset}" for s in found[:_NAMED])
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        verb = "needs" if len(found) == 1 else "need"
        return f"; {count(len(found), 'snapshot', 'snapshots')} {verb} it: {shown}{more}"

    def of_pack(self, name: str) -> str:
        """The same for a pack, by its whole name."""
        return self.told(self._segments(name))

    def of(self, name: str) -> list[Snapshot]:
        """The snapshots that need a pack, a session or refs, by its whole name."""
        digest = names.digest_of(name)
        if name.startswith(names.PACKS):
            return self._needing(self._segments(name))
        if name.startswith(names.REFS):
            return [s for s, _ in self._refs if s.refs == digest]
        return [s for s, refs in self._refs if bytes.fromhex(digest) in refs.segments]

    def _needing(self, segments: Collection[SegmentId]) -> list[Snapshot]:
        return [s for s, needs in self._needs if _any_of(segments, needs)]

    def _segments(self, pack_name: str) -> list[SegmentId]:
        """What the index tells of a pack."""
        return self._by_pack.get(bytes.fromhex(names.digest_of(pack_name)), [])

    # Made once it is asked for: a disk that fails may have damaged thousands of packs.

    @cached_property
    def _needs(self) -> list[tuple[Snapshot, Needs]]:
        return [(s, Needs([refs])) for s, refs in self._refs]

    @cached_property
    def _by_pack(self) -> dict[bytes, list[SegmentId]]:
        found: dict[bytes, list[SegmentId]] = {}
        for place in (self._index.place(ordinal) for ordinal in range(self._index.segments)):
            found.setdefault(place.pack, []).append((place.session, place.number))
        return found


def check_places(
    repository: Repository, index: Index, sizes: Mapping[str, int], needers: Needers, wrong: Wrong
) -> None:
    """Where nobody can tell what is needed every pack of the index counts. One that was lost is not
    missed where all that is needed of it was stored in others again."""
    ends: dict[bytes, int] = {}
    needed: dict[bytes, set[SegmentId]] = {}
    here: set[SegmentId] = set()
    needs = needers.needs()
    for ordinal in range(index.segments):
        place = index.place(ordinal)
        ends[place.pack] = max(ends.get(place.pack, 0), place.offset + place.stored_bytes)
        segment = (place.session, place.number)
        if names.named(names.PACKS, place.pack.hex()) in sizes:
            here.add(segment)
        elif needs is None or segment in needs:
            needed.setdefault(place.pack, set()).add(segment)
    missed = _missed(
        repository, index, sizes, {s for found in needed.values() for s in found} - here
    )
    for pack, end in ends.items():
        name = names.named(names.PACKS, pack.hex())
        if name not in sizes:
            if lost := needed.get(pack, set()) & missed:
                wrong(f"{repository.where}: {name} is missing{needers.told(lost)}", name)
        elif sizes[name] < end:
            what = f"{repository.where}: {name} is cut short at {sizes[name]} bytes"
            wrong(what + needers.of_pack(name), name)


def check_sizes(repository: Repository, index: Index, needers: Needers, wrong: Wrong) -> None:
    """Nobody reads a segment that is larger than a decoder takes: early drctls wrote some. It is
    not missed where all that it holds was stored in others again."""
    needs = needers.needs()
    for ordinal, segment in index.oversized:
        name = names.named(names.PACKS, index.place(ordinal).pack.hex())
        who = (segment.session, segment.number)
        is_missed = any(index.ordinal(blob) == ordinal for blob, _ in segment.blobs)
        if is_missed and (needs is None or who in needs):
            size = show_bytes(segment.raw_bytes)
            what = f"{repository.where}: {name} holds a segment of {size}, which nobody can read: "
            told = "an early drctl wrote it so. Nothing mends it, and new snapshots are without it"
            cure = ": 'drctl forget SNAPSHOT' gives one up"
            needed_by = needers.told([who])
            wrong(what + told + needed_by + (cure if needed_by else ""))


def _any_of(segments: Iterable[SegmentId], needs: Needs) -> bool:
    return any(segment in needs for segment in segments)


def _missed(
    repository: Repository, index: Index, sizes: Mapping[str, int], lost: set[SegmentId]
) -> set[SegmentId]:
    """Lost segments but for those of which every blob lies in a pack that is there."""
    if not lost:
        return lost
    told = standins.blobs_of(repository, lost)
    return {s for s in lost if not all(_is_here(index, b, sizes) for b in told.get(s, (b"",)))}


def _is_here(index: Index, blob: bytes, sizes: Mapping[str, int]) -> bool:
    ordinal = index.ordinal(blob) if blob else -1
    if ordinal < 0:
        return False
    return names.named(names.PACKS, index.place(ordinal).pack.hex()) in sizes
