"""Reading back: blobs, entries, content. Every byte is authenticated before it is handed on.

Segments are fetched in runs of neighbours, opened once and kept for a while, since blobs that were
stored together are mostly read together. Any thread may read.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate, pairwise
from typing import NamedTuple

from drctl.codec import entries, segment
from drctl.codec.entries import BlockInfo, Root
from drctl.codec.recipients import Identity
from drctl.codec.seal import DataSeal
from drctl.codec.table import Segment
from drctl.errors import IntegrityError, KeyUnavailable, NotFound
from drctl.model import ID_SIZE, Entry, sort_key
from drctl.repository import names
from drctl.repository.ahead import NOTHING, Ahead, Coming
from drctl.repository.aside import Aside
from drctl.repository.index import Index, Place
from drctl.repository.repository import Repository
from drctl.repository.segments import SegmentCache

_CACHE_BYTES = 32 << 20
_RUN_BYTES = 16 << 20  # at most so much in one request: a pack
_GAP_BYTES = 256 << 10  # reading over a smaller gap is cheaper than asking twice
Run = list[tuple[int, Place]]  # segments with their ordinals, neighbours in one pack
Lost = Callable[[BlockInfo, IntegrityError], None]
_WINDOW_BYTES = 2 << 20
_BLOCKS_BYTES = 4 << 20  # of entries, read in one go


class Group(NamedTuple):
    """Blobs that are read together: the segments in which they lie, and how long they are."""

    ids: list[bytes]
    segments: set[int]
    size_bytes: int = 0


class Reader:
    """Raises IntegrityError naming the object, KeyUnavailable, StorageError."""

    def __init__(
        self,
        repository: Repository,
        index: Index,
        identity: Identity,
        aside: str | None = None,
    ) -> None:
        """`aside`: a directory where what was fetched is kept, for a storage that is far away."""
        self.repository = repository
        self._directory = aside
        self._index = index
        self._identity = identity
        self._seals: dict[bytes, DataSeal] = {}
        self._seals_lock = threading.Lock()
        self._segments = SegmentCache(_CACHE_BYTES)
        self._rebuilt = False

    # -- blobs --------------------------------------------------------------------------------

    def blobs(self, ids: Sequence[bytes], coming: Coming = NOTHING) -> list[memoryview]:
        """The blobs, in the order asked for, each proven to be the one of its id. `coming`: what
        `begin` gave for them."""
        return [whole[start:end] for whole, start, end in self._proven(ids, coming)]

    def content(self, ids: Sequence[bytes], coming: Coming = NOTHING) -> list[memoryview]:
        """The same end to end, in as few pieces as they lie in: what is handed on in a thousand
        small ones costs more than reading it."""
        runs: list[tuple[memoryview, int, int]] = []
        for whole, start, end in self._proven(ids, coming):
            goes_on = runs and runs[-1][0] is whole and runs[-1][2] == start
            runs.append((whole, runs.pop()[1] if goes_on else start, end))
        return [whole[start:end] for whole, start, end in runs]

    def _proven(self, ids: Sequence[bytes], coming: Coming) -> list[tuple[memoryview, int, int]]:
        """Where each blob lies: a segment's bytes, from, to."""
        located = [self._locate(blob_id) for blob_id in ids]
        opened = self._open(sorted({ordinal for ordinal, _, _ in located}), coming)
        plains = {ordinal: memoryview(plain) for ordinal, plain in opened.items()}
        spans = [(plains[ordinal], start, start + length) for ordinal, start, length in located]
        found = self.repository.secrets.blob_ids(whole[start:end] for whole, start, end in spans)
        for blob_id, due, (ordinal, _, _) in zip(found, ids, located, strict=True):
            if blob_id != due:
                name = self._name(self._index.place(ordinal))
                raise IntegrityError(f"{self.repository.where}: {name} holds a wrong blob")
        return spans

    def _locate(self, blob_id: bytes) -> tuple[int, int, int]:
        located = self._index.locate(blob_id)
        if located is None and self._rebuild():
            located = self._index.locate(blob_id)
        if located is None:
            raise IntegrityError(
                f"{self.repository.where}: blob {blob_id.hex()[:16]} is in no pack",
                hint="a pack was lost; another repository of the plan may hold it: give --from",
            )
        return located

    def _rebuild(self) -> bool:
        """An index object was lost: what it held is read from the packs, once."""
        with self._seals_lock:
            if not self._rebuilt:
                self.repository.index_from_packs(self._index, lambda _: None)
                self._rebuilt = True
        return True

    def has(self, blob_id: bytes) -> bool:
        """Whether the blob lies in a pack that the index, or a look at all packs, knows."""
        try:
            self._locate(blob_id)
        except IntegrityError:
            return False
        return True

    def blob_bytes(self, blob_id: bytes) -> int:
        """How long a blob is, without reading it."""
        return self._locate(blob_id)[2]

    def check_pack(self, name: str, data: bytes) -> None:
        """Open every segment of a whole pack and prove every blob in it. Of those that are too
        large to be read the index tells."""
        table = self.repository.toc_in(name, data)
        for found in (s for s in table.segments if not segment.is_oversized(s.raw_bytes)):
            sealed = memoryview(data)[found.offset : found.offset + found.stored_bytes]
            self.check_segment(name, found, sealed)

    def check_segment(self, name: str, found: Segment, sealed: memoryview) -> None:
        """Open one segment of the pack of that name and prove every blob in it."""
        place = Place(found.session, found.number, b"", *_sizes(found))
        plain = memoryview(self._decode(name, place, sealed))
        ends = [*accumulate(length for _, length in found.blobs)]
        blobs = (plain[start:end] for start, end in pairwise([0, *ends]))
        if self.repository.secrets.blob_ids(blobs) != [blob_id for blob_id, _ in found.blobs]:
            raise IntegrityError(f"{self.repository.where}: {name} holds a wrong blob")

    def must_open(self, session: bytes) -> None:
        """The session is there, and this identity opens it. Raises as `blobs` does."""
        self._seal(session)

    # -- segments -----------------------------------------------------------------------------

    def _open(self, ordinals: Sequence[int], coming: Coming) -> dict[int, bytes]:
        """The raw bytes of segments, each opened by one thread however many ask."""
        waiting, mine = self._segments.claim(ordinals)
        try:
            rest = [o for o in mine if o not in coming or not self._take(o, coming, mine)]
            for run in _runs((o, self._index.place(o)) for o in rest):
                self._fetch_run(run, mine)
        except BaseException as error:
            self._segments.fail(mine, error)
            raise
        return {ordinal: future.result() for ordinal, future in waiting.items()}

    def _take(self, ordinal: int, coming: Coming, mine: dict[int, "Future[bytes]"]) -> bool:
        """One that was asked for ahead, if it came. Damage to what was kept here since says nothing
        of the pack."""
        sealed = coming[ordinal].sealed()
        if sealed is None:
            return False
        place = self._index.place(ordinal)
        try:
            plain = self._decode(self._name(place), place, sealed)
        except IntegrityError:
            return False
        self._segments.done(ordinal, mine[ordinal], plain)
        return True

    def _fetch_run(self, run: Run, mine: dict[int, "Future[bytes]"]) -> None:
        name, start, length = self._range(run)
        try:
            data = memoryview(self.repository.read(name, start, length))
        except NotFound as error:
            raise IntegrityError(
                f"{error.what}, though snapshots need it",
                hint="another repository of the plan may hold it: give --from",
            ) from error
        for ordinal, place in run:
            at = place.offset - start
            plain = self._decode(name, place, data[at : at + place.stored_bytes])
            self._segments.done(ordinal, mine[ordinal], plain)

    def _range(self, run: Run) -> tuple[str, int, int]:
        """The object, offset and length that hold a run."""
        first, last = run[0][1], run[-1][1]
        length = last.offset + last.stored_bytes - first.offset
        return self._name(first), first.offset, length

    def _decode(self, name: str, place: Place, sealed: bytes | memoryview) -> bytes:
        with self.repository.naming(name):
            return segment.decode(
                self._seal(place.session),
                place.number,
                place.compression,
                place.raw_bytes,
                sealed,
            )

    def _seal(self, session: bytes) -> DataSeal:
        with self._seals_lock:
            if session not in self._seals:
                self._seals[session] = self._open_session(session)
            return self._seals[session]

    def _open_session(self, session: bytes) -> DataSeal:
        try:
            return self.repository.open_session(session, self._identity)
        except NotFound as error:
            raise IntegrityError(f"{error.what}, though snapshots need it") from error
        except KeyUnavailable as error:
            raise KeyUnavailable(
                f"identity {self._identity.name} does not open session {session.hex()[:8]}",
                hint="give an identity that was a recipient when the snapshot was made",
            ) from error

    def _name(self, place: Place) -> str:
        return names.named(names.PACKS, place.pack.hex())

    # -- ahead --------------------------------------------------------------------------------

    def ahead(self) -> Ahead:
        """For what is said before it is needed."""
        return Ahead(self.repository.read, Aside(self._directory))

    def segments(self, ids: Iterable[bytes]) -> set[int]:
        """The ordinals of the segments in which these blobs lie. A blob that is nowhere is told
        when it is asked for."""
        return {ordinal for ordinal in map(self._index.ordinal, ids) if ordinal >= 0}

    def missing(self, segments: Iterable[int]) -> dict[int, int]:
        """Those that are not at hand, with their stored sizes in bytes."""
        absent = self._segments.absent(segments)
        return {ordinal: self._index.stored_bytes(ordinal) for ordinal in absent}

    def begin(self, ahead: Ahead, ordinals: set[int]) -> Coming:
        """What is on its way for these segments. What is not at hand is asked for now, neighbours
        together."""
        coming = ahead.known(ordinals)
        absent = self._segments.absent(ordinals - coming.keys())
        for run in _runs((ordinal, self._index.place(ordinal)) for ordinal in absent):
            start = run[0][1].offset
            segments = ((o, place.offset - start, place.stored_bytes) for o, place in run)
            coming |= ahead.begin(self._range(run), segments)
        return coming

    # -- entries ------------------------------------------------------------------------------

    def root(self, ids: bytes) -> Root:
        """A snapshot's root, from the ids in its manifest."""
        return entries.decode_root(b"".join(self.blobs(split(ids))))

    def entries(
        self, root: Root, wanted: Sequence[bytes] = (), lost: Lost | None = None
    ) -> Iterator[Entry]:
        """In order; with `wanted` only these paths and what lies below, reading few blocks. A block
        that is damaged is told to `lost`, where there is one, and the others still come."""
        blocks = self._blocks(root, wanted)
        groups = list(self._groups((b.blob for b in blocks), _BLOCKS_BYTES))
        for block, plain in zip(blocks, self._plain(groups), strict=True):
            for entry in self._block_or_tell(block, plain, lost):
                if not wanted or is_wanted(entry.path, wanted):
                    yield entry

    def _blocks(self, root: Root, wanted: Sequence[bytes]) -> list[BlockInfo]:
        """Those that may hold what is wanted."""
        keys = [sort_key(block.first) for block in root.blocks]
        afters = [*keys, None][1:]
        return [
            block
            for block, key, after in zip(root.blocks, keys, afters, strict=True)
            if not wanted or any(_may_hold(path, key, after) for path in wanted)
        ]

    def _plain(self, groups: Sequence[Group]) -> Iterator[memoryview | None]:
        """The blobs of each group in turn, while the next one is on its way. None where one of the
        group is damaged: that is told where the blob itself is read."""
        with self.ahead() as ahead:
            begun = (self.begin(ahead, group.segments) for group in groups)
            after = next(begun, NOTHING)
            for group in groups:
                coming, after = after, next(begun, NOTHING)
                try:
                    found: Sequence[memoryview | None] = self.blobs(group.ids, coming)
                except IntegrityError:
                    found = [None] * len(group.ids)
                yield from found

    def _block_or_tell(
        self, block: BlockInfo, plain: memoryview | None, lost: Lost | None
    ) -> list[Entry]:
        try:
            return self.block(block.blob) if plain is None else entries.decode_block(bytes(plain))
        except IntegrityError as error:
            if lost is None:
                raise
            lost(block, error)
            return []

    def block(self, blob_id: bytes) -> list[Entry]:
        """One block of entries."""
        return entries.decode_block(bytes(self.blobs([blob_id])[0]))

    def leaves(self, entry: Entry) -> list[bytes]:
        """The ids of an entry's content, in order."""
        ids = split(entry.blobs)
        if not entry.indirect:
            return ids
        return [leaf for plain in self.blobs(ids) for leaf in split(bytes(plain))]

    def windows(self, ids: Sequence[bytes]) -> Iterator[Group]:
        """The ids in groups worth a thread's turn: about 2 MiB. What is in no pack counts as
        nothing; it is told when it is asked for."""
        return self._groups(ids, _WINDOW_BYTES)

    def _groups(self, ids: Iterable[bytes], most_bytes: int) -> Iterator[Group]:
        group = Group([], set())
        size = 0
        for blob_id in ids:
            group.ids.append(blob_id)
            found = self._index.locate(blob_id)
            if found:
                group.segments.add(found[0])
                size += found[2]
            if size >= most_bytes:
                yield group._replace(size_bytes=size)
                group, size = Group([], set()), 0
        if group.ids:
            yield group._replace(size_bytes=size)


def _sizes(found: Segment) -> tuple[int, int, int, int]:
    return found.offset, found.stored_bytes, found.raw_bytes, found.compression


def split(ids: bytes) -> list[bytes]:
    """Ids that stand end to end."""
    return [ids[i : i + ID_SIZE] for i in range(0, len(ids), ID_SIZE)]


def is_wanted(path: bytes, wanted: Sequence[bytes]) -> bool:
    """Whether a path is one of those wanted, or lies below one."""
    return any(top in (path, b".") or path.startswith(top + b"/") for top in wanted)


def _may_hold(path: bytes, first: bytes, after: bytes | None) -> bool:
    """Whether a block of keys from `first` up to `after` may hold `path` or what is below it."""
    key = sort_key(path)
    if after is not None and after <= key:
        return False
    return first <= key or first.startswith(key + b"\0") or not key


def _runs(places: Iterable[tuple[int, Place]]) -> Iterator[Run]:
    """Neighbours in one pack, close enough to be fetched together."""
    run: Run = []
    for ordinal, place in sorted(places, key=lambda found: (found[1].pack, found[1].offset)):
        if run and not _joins(run, place):
            yield run
            run = []
        run.append((ordinal, place))
    if run:
        yield run


def _joins(run: Run, place: Place) -> bool:
    first, last = run[0][1], run[-1][1]
    gap = place.offset - (last.offset + last.stored_bytes)
    length = place.offset + place.stored_bytes - first.offset
    return place.pack == last.pack and gap <= _GAP_BYTES and length <= _RUN_BYTES
