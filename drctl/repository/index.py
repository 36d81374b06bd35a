"""The index in memory: blob id -> segment -> pack, within 64 bytes a blob."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, islice, repeat

from msgspec import Struct

from drctl.codec.segment import is_oversized
from drctl.codec.table import (
    SESSION_ID_BYTES,
    Columns,
    PackTable,
    Segment,
    decode,
    decode_columns,
    numbers,
)
from drctl.errors import IntegrityError
from drctl.model import ID_SIZE
from drctl.repository.blobtable import BlobTable

NO_PACK = 0xFFFFFFFF


class Place(Struct, frozen=True):
    """Where a segment lies. `pack` is 32 bytes, empty while the pack is not stored yet."""

    session: bytes
    number: int
    pack: bytes
    offset: int
    stored_bytes: int
    raw_bytes: int
    compression: int


class Present(Struct, frozen=True):
    """Ids of the packs, with their sizes in bytes, and of the sessions that a storage holds. A pack
    that is not among them, or is cut short, is lost, and so is one whose session is: nobody can
    open it any more."""

    packs: Mapping[bytes, int]
    sessions: frozenset[bytes]
    condemned: frozenset[bytes] = frozenset()  # packs and sessions that are left out as well

    def is_condemned(self, pack: PackTable) -> bool:
        """Whether it is left out because it goes, rather than lost."""
        sessions = {s.session for s in pack.segments}
        return pack.name in self.condemned or not self.condemned.isdisjoint(sessions)


class Index:
    """Grows only. Not thread safe for growing; reading from many threads is safe then."""

    def __init__(self, present: Present | None = None) -> None:
        """With `present`, lost packs are left out, and so are the blobs of segments that are too
        large for any decoder: a run must not lean on what cannot be read, so it stores it again."""
        self._present = present
        self.lost: list[PackTable] = []  # what was left out as lost
        self.oversized: list[tuple[int, Segment]] = []  # with their ordinals
        self._blobs = BlobTable()
        self._sessions: dict[bytes, int] = {}
        self._packs: dict[bytes, int] = {}
        self._session_names: list[bytes] = []
        self._pack_names: list[bytes] = []
        self._session = array("I")
        self._number = array("Q")
        self._pack = array("I")
        self._offset = array("I")
        self._stored = array("I")
        self._raw = array("I")
        self._compression = array("B")

    def __len__(self) -> int:
        return len(self._blobs)

    def __contains__(self, blob_id: bytes) -> bool:
        return self._blobs.row(blob_id) >= 0

    @property
    def segments(self) -> int:
        return len(self._number)

    def knows_pack(self, name: bytes) -> bool:
        return name in self._packs

    @property
    def packs(self) -> Sequence[bytes]:
        return self._pack_names

    def ordinal(self, blob_id: bytes) -> int:
        """The blob's segment, or -1."""
        row = self._blobs.row(blob_id)
        return -1 if row < 0 else self._blobs.ordinal(row)

    def locate(self, blob_id: bytes) -> tuple[int, int, int] | None:
        """(segment's ordinal, offset in its raw bytes, length), or None."""
        row = self._blobs.row(blob_id)
        return None if row < 0 else self._blobs.at(row)

    def place(self, ordinal: int) -> Place:
        pack = self._pack[ordinal]
        return Place(
            self._session_names[self._session[ordinal]],
            self._number[ordinal],
            b"" if pack == NO_PACK else self._pack_names[pack],
            self._offset[ordinal],
            self._stored[ordinal],
            self._raw[ordinal],
            self._compression[ordinal],
        )

    def stored_bytes(self, ordinal: int) -> int:
        """How long a segment is in its pack."""
        return self._stored[ordinal]

    def segment_ids(self) -> set[tuple[bytes, int]]:
        """(session, number) of every segment that lies in a pack."""
        names = self._session_names
        triples = zip(self._session, self._number, self._pack, strict=True)
        return {(names[s], n) for s, n, pack in triples if pack != NO_PACK}

    # -- a writing run adds segments as it makes them -----------------------------------------

    def new_segment(self, session: bytes, number: int) -> int:
        """Room for a segment that is being gathered. Gives its ordinal."""
        self._session.append(self._session_ordinal(session))
        self._number.append(number)
        self._pack.append(NO_PACK)
        for column in (self._offset, self._stored, self._raw, self._compression):
            column.append(0)
        return len(self._number) - 1

    def find_or_add(self, blob_id: bytes, ordinal: int, offset: int, length: int) -> int:
        """The segment of a blob that the index knows; or -1: it did not know it, and now does."""
        return self._blobs.find_or_add(blob_id, ordinal, offset, length)

    def set_packed(self, ordinal: int, pack: bytes, segment: Segment) -> None:
        self._pack[ordinal] = self._pack_ordinal(pack)
        self._offset[ordinal] = segment.offset
        self._stored[ordinal] = segment.stored_bytes
        self._raw[ordinal] = segment.raw_bytes
        self._compression[ordinal] = segment.compression

    # -- what was written before is loaded whole ----------------------------------------------

    def expect(self, index_bytes: int) -> None:
        """Index objects of so many bytes will be added. Ids do not compress."""
        self._blobs.expect(index_bytes // (ID_SIZE + 2))

    def add(self, plain: bytes) -> bool:
        """A decoded index object. A pack that is known already is not counted twice. False: it
        names lost packs, which were left out. Raises IntegrityError."""
        columns = decode_columns(plain)
        names = _split(columns.packs, ID_SIZE)
        if len(names) != len(numbers("I", columns.pack_segments)):
            raise IntegrityError("its table names no packs")
        ends = zip(names, _ends(columns), strict=True)
        whole = not self._are_lost(ends, _split(columns.sessions, SESSION_ID_BYTES))
        is_sound = whole and not is_oversized(max(numbers("I", columns.raw), default=0))
        if is_sound and not any(name in self._packs for name in names):
            self._add_segments(columns, names)
            return True
        for pack in decode(plain):
            self.add_pack(pack)
        return whole

    def take_lost(self) -> None:
        """From here on what was left out is taken in as well, so that what needs it can be named.
        A blob that was stored again is found there."""
        self._present = None
        for ordinal, segment in self.oversized:
            self._add_blobs_of(segment, ordinal)

    def add_pack(self, pack: PackTable) -> None:
        """One pack's table of contents, unless the pack is known."""
        if any(sum(size for _, size in s.blobs) > s.raw_bytes for s in pack.segments):
            raise IntegrityError("its table holds a segment that cannot be")
        end = max((s.offset + s.stored_bytes for s in pack.segments), default=0)
        if pack.name in self._packs:
            return
        if self._are_lost([(pack.name, end)], [s.session for s in pack.segments]):
            assert self._present is not None  # noqa: S101 - else nothing is lost
            if not self._present.is_condemned(pack):
                self.lost.append(pack)
            return
        for segment in pack.segments:
            ordinal = self.new_segment(segment.session, segment.number)
            self.set_packed(ordinal, pack.name, segment)
            if is_oversized(segment.raw_bytes):
                self.oversized.append((ordinal, segment))
                if self._present is not None:
                    continue
            self._add_blobs_of(segment, ordinal)

    def _add_blobs_of(self, segment: Segment, ordinal: int) -> None:
        offset = 0
        for blob_id, length in segment.blobs:
            self.find_or_add(blob_id, ordinal, offset, length)
            offset += length

    def _are_lost(self, packs: Iterable[tuple[bytes, int]], sessions: list[bytes]) -> bool:
        """Whether any of these is: packs with where their last segments end."""
        here = self._present
        if here is None:
            return False
        are_whole = all(here.packs.get(name, -1) >= end for name, end in packs)
        return not (are_whole and here.sessions.issuperset(sessions))

    def _add_segments(self, c: Columns, names: list[bytes]) -> None:
        base = len(self._number)
        self._add_blobs(c, base)  # first: it may refuse them
        sessions = [self._session_ordinal(name) for name in _split(c.sessions, SESSION_ID_BYTES)]
        per_pack = zip(names, numbers("I", c.pack_segments), strict=True)
        packs = (repeat(self._pack_ordinal(name), count) for name, count in per_pack)
        self._session.extend(sessions[i] for i in numbers("I", c.session))
        self._number.extend(numbers("Q", c.number))
        self._pack.extend(chain.from_iterable(packs))
        self._offset.extend(numbers("I", c.offset))
        self._stored.extend(numbers("I", c.stored))
        self._raw.extend(numbers("I", c.raw))
        self._compression.frombytes(c.compression)

    def _add_blobs(self, c: Columns, base: int) -> None:
        """A blob's offset is what lies before it in its segment."""
        lengths = numbers("I", c.lengths)
        ordinals, offsets = array("I"), array("I")
        first = 0
        for ordinal, count in enumerate(numbers("I", c.segment_blobs), base):
            ordinals.extend(repeat(ordinal, count))
            begins = islice(accumulate(lengths[first : first + count], initial=0), count)
            try:
                offsets.extend(begins)
            except OverflowError as error:
                raise IntegrityError("its table holds a segment that cannot be") from error
            first += count
        self._blobs.extend(c.ids, ordinals, offsets, lengths)

    def _session_ordinal(self, name: bytes) -> int:
        return _ordinal(self._sessions, self._session_names, name)

    def _pack_ordinal(self, name: bytes) -> int:
        return _ordinal(self._packs, self._pack_names, name)


def _split(ids: bytes, size: int) -> list[bytes]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def _ends(c: Columns) -> list[int]:
    """Where the last segment of each pack ends."""
    offsets, sizes = numbers("I", c.offset), numbers("I", c.stored)
    lasts = (end - 1 for end in accumulate(numbers("I", c.pack_segments)))
    return [offsets[last] + sizes[last] if offsets else 0 for last in lasts]


def _ordinal(known: dict[bytes, int], names: list[bytes], name: bytes) -> int:
    place = known.get(name)
    if place is None:
        place = known[name] = len(names)
        names.append(name)
    return place
