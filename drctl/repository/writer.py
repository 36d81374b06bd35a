"""One writing run: blobs -> segments -> packs -> index -> refs, with bounded memory.

Blobs are gathered into segments in the order they come; the pool compresses and seals; sealed
segments go into packs in that same order; the pool stores packs. Nothing is promised before
`finish`, and a run that ends without a snapshot leaves only garbage that the next run reuses.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress

from msgspec import Struct, field

from drctl.codec import documents, pack, segment, table
from drctl.codec.chunker import Span
from drctl.codec.limits import PACK_TARGET_BYTES, SEGMENT_TARGET_BYTES
from drctl.codec.seal import DataSeal
from drctl.codec.table import PackTable, Segment
from drctl.errors import StorageError
from drctl.repository import names
from drctl.repository.index import Index
from drctl.repository.repository import Repository
from drctl.workers import Turns

Blob = bytes | memoryview

_SEGMENTS_AHEAD = 12  # being compressed; each about 1 MiB, at most 5
_PACKS_AHEAD = 4  # being stored; each about 16 MiB
_PACK_MOST_BLOBS = 1 << 15  # of a few bytes each: their names take more room than they do
_INDEX_EVERY_PACKS = 64  # so that a killed run loses at most 1 GiB of reuse
_INDEX_EVERY_BLOBS = 1 << 16  # so that very many small blobs do not pile up in memory


class _Gathering(Struct):
    """A segment being filled."""

    ordinal: int
    number: int
    spans: list[Span] = field(default_factory=list)
    ids: list[tuple[bytes, int]] = field(default_factory=list)
    size_bytes: int = 0


class _Packing(Struct):
    """A pack being filled. `parts` begins with the pack's magic."""

    parts: list[bytes]
    ordinals: list[int]
    segments: list[Segment]
    size_bytes: int
    blobs: int = 0


class Writer:
    """Not thread safe: one thread adds, the pool works. Raises StorageError."""

    def __init__(self, repository: Repository, index: Index, pool: Executor, level: int) -> None:
        self._repository = repository
        self._index = index
        self._pool = pool
        self._sealers = Turns(pool)
        self._level = level
        self._session: tuple[bytes, DataSeal] | None = None
        self._next_number = 0
        self._used = bytearray(index.segments)
        self._data: _Gathering | None = None
        self._tree: _Gathering | None = None
        self._sealing: deque[tuple[_Gathering, Future[tuple[int, bytes]]]] = deque()
        self._packing = _empty_pack()
        self._storing: deque[tuple[_Packing, Future[str]]] = deque()
        self._stored: list[PackTable] = []
        self._unindexed_blobs = 0
        self.stored_bytes = 0
        self.new_blobs = 0

    # -- what a walk calls --------------------------------------------------------------------

    def use(self, blob_id: bytes) -> bool:
        """Take over a blob that is stored already. False: it is not, and must be added."""
        ordinal = self._index.ordinal(blob_id)
        if ordinal < 0:
            return False
        self._used[ordinal] = 1
        return True

    def add(self, blob: Blob, *, tree: bool = False) -> bytes:
        """Store a blob unless it is known. Gives its id. `blob` must not change any more."""
        blob_id = self._repository.secrets.blob_id(blob)
        self.add_named([blob_id], [(blob, 0, len(blob))], tree=tree)
        return blob_id

    def blob_ids(self, blobs: Iterable[Blob]) -> list[bytes]:
        """What blobs are called. Any thread may ask."""
        return self._repository.secrets.blob_ids(blobs)

    def add_named(self, ids: Sequence[bytes], spans: Sequence[Span], *, tree: bool = False) -> None:
        """The same for blobs whose ids were learnt before."""
        find_or_add, used = self._index.find_or_add, self._used
        for blob_id, span in zip(ids, spans, strict=True):
            gathering = self._tree if tree else self._data
            if gathering is None:
                if self.use(blob_id):
                    continue  # a run that stores nothing new begins no segment
                gathering = self._new_segment(tree=tree)
            length = span[2] - span[1]
            known = find_or_add(blob_id, gathering.ordinal, gathering.size_bytes, length)
            if known >= 0:
                used[known] = 1
            else:
                self._gather(gathering, blob_id, span)

    def _gather(self, gathering: _Gathering, blob_id: bytes, span: Span) -> None:
        """Blobs that lie side by side stay so: they are compressed where they are."""
        whole, start, end = span
        length = end - start
        spans = gathering.spans
        if spans and spans[-1][0] is whole and spans[-1][2] == start:
            start = spans.pop()[1]
        spans.append((whole, start, end))
        gathering.ids.append((blob_id, length))
        gathering.size_bytes += length
        self.new_blobs += 1
        if gathering.size_bytes >= SEGMENT_TARGET_BYTES:
            self._close_segment(gathering)

    def finish(self) -> str:
        """Everything added is stored and indexed. Gives the digest of the run's refs."""
        self.settle()
        if self._repository.hold:
            self._repository.hold(self._needed())
        refs = documents.encode_struct(documents.Refs(self._references()))
        return self._repository.put_meta(names.REFS, documents.REFS_MAGIC, refs)

    def settle(self) -> None:
        """Store and index what was gathered, also when the run is being given up: the next run
        then finds it."""
        for gathering in (self._data, self._tree):
            if gathering:
                self._close_segment(gathering)
        self._drain_sealing(0)
        self._close_pack()
        self._drain_storing(0)
        self._write_index()

    def rescue(self) -> None:
        """The same for a run that was interrupted between any two steps of this class, or whose
        storage refused something: what was being put together may not fit together, so only packs
        that are stored are indexed. On a disk that is full, an index still fits."""
        while self._storing:
            with suppress(StorageError):  # that pack is not there; others may be
                self._drain_storing(0)
        self._write_index()

    # -- segments -----------------------------------------------------------------------------

    def _new_segment(self, *, tree: bool) -> _Gathering:
        session, _ = self._open_session()
        ordinal = self._index.new_segment(session, self._next_number)
        self._used.append(1)
        gathering = _Gathering(ordinal, self._next_number)
        self._next_number += 1
        if tree:
            self._tree = gathering
        else:
            self._data = gathering
        return gathering

    def _open_session(self) -> tuple[bytes, DataSeal]:
        """A run that stores nothing new makes no session."""
        if self._session is None:
            self._session = self._repository.start_session()
        return self._session

    def _close_segment(self, gathering: _Gathering) -> None:
        if gathering is self._tree:
            self._tree = None
        else:
            self._data = None
        _, seal = self._open_session()
        blobs = [memoryview(whole)[start:end] for whole, start, end in gathering.spans]
        gathering.spans = []
        work = self._sealers.submit(segment.encode, seal, gathering.number, blobs, self._level)
        self._sealing.append((gathering, work))
        self._drain_sealing(_SEGMENTS_AHEAD)

    def _drain_sealing(self, most: int) -> None:
        while self._sealing and (len(self._sealing) > most or self._sealing[0][1].done()):
            gathering, work = self._sealing.popleft()
            self._append(gathering, *work.result())

    # -- packs --------------------------------------------------------------------------------

    def _append(self, gathering: _Gathering, compression: int, sealed: bytes) -> None:
        packing = self._packing
        packing.segments.append(
            Segment(
                session=self._open_session()[0],
                number=gathering.number,
                offset=packing.size_bytes,
                stored_bytes=len(sealed),
                raw_bytes=gathering.size_bytes,
                compression=compression,
                blobs=tuple(gathering.ids),
            )
        )
        packing.ordinals.append(gathering.ordinal)
        packing.parts.append(sealed)
        packing.size_bytes += len(sealed)
        packing.blobs += len(gathering.ids)
        if packing.size_bytes >= PACK_TARGET_BYTES or packing.blobs >= _PACK_MOST_BLOBS:
            self._close_pack()

    def _close_pack(self) -> None:
        if not self._packing.segments:
            return
        packing, self._packing = self._packing, _empty_pack()
        self._storing.append((packing, self._pool.submit(self._store, packing)))
        self._drain_storing(_PACKS_AHEAD)

    def _store(self, packing: _Packing) -> str:
        """In the pool. Gives the pack's digest."""
        toc = table.encode([PackTable(b"", tuple(packing.segments))])
        data = b"".join((*packing.parts, pack.tail(self._repository.seal_toc(toc))))
        packing.parts.clear()
        packing.size_bytes = len(data)
        name = names.hashed(names.PACKS, data)
        self._repository.storage.put(name, data)
        return names.digest_of(name)

    def _drain_storing(self, most: int) -> None:
        while self._storing and (len(self._storing) > most or self._storing[0][1].done()):
            packing, work = self._storing.popleft()
            digest = bytes.fromhex(work.result())
            self.stored_bytes += packing.size_bytes
            for ordinal, place in zip(packing.ordinals, packing.segments, strict=True):
                self._index.set_packed(ordinal, digest, place)
            self._stored.append(PackTable(digest, tuple(packing.segments)))
            self._unindexed_blobs += packing.blobs
            enough = self._unindexed_blobs >= _INDEX_EVERY_BLOBS
            if enough or len(self._stored) >= _INDEX_EVERY_PACKS:
                self._write_index()

    # -- index and refs -----------------------------------------------------------------------

    def _write_index(self) -> None:
        if self._stored:
            plain = table.encode(self._stored)
            self._repository.put_meta(names.INDEX, documents.INDEX_MAGIC, plain)
            self._stored.clear()
            self._unindexed_blobs = 0

    def _needed(self) -> set[str]:
        """The packs and sessions of every segment that was used or made."""
        places = (self._index.place(i) for i, mark in enumerate(self._used) if mark)
        found: set[str] = set()
        for place in places:
            found.add(names.SESSIONS + place.session.hex())
            found.add(names.named(names.PACKS, place.pack.hex()))
        return found

    def _references(self) -> dict[bytes, list[int]]:
        """Runs of segment numbers by session, of every segment that was used or made."""
        used: dict[bytes, list[int]] = {}
        for ordinal in (i for i, mark in enumerate(self._used) if mark):
            place = self._index.place(ordinal)
            used.setdefault(place.session, []).append(place.number)
        return {session: runs(sorted(found)) for session, found in used.items()}


def runs(ascending: list[int]) -> list[int]:
    """[3, 4, 5, 9] becomes [3, 3, 9, 1]: first and count of each run."""
    found: list[int] = []
    for number in ascending:
        if found and number == found[-2] + found[-1]:
            found[-1] += 1
        else:
            found += (number, 1)
    return found


def _empty_pack() -> _Packing:
    return _Packing([pack.MAGIC], [], [], pack.HEAD_BYTES)
