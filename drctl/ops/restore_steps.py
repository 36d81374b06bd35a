"""What a restore does, step by step in the order of entries, and what is fetched ahead for it.

Steps are made some way before they are taken, so that the storage is asked for long ranges while
earlier ones are still being opened and written.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from msgspec import Struct, field

from drctl.codec.limits import SMALL_BYTES
from drctl.engines.base import Writing
from drctl.errors import IntegrityError
from drctl.model import Entry, Kind
from drctl.repository.ahead import Ahead, Coming
from drctl.repository.reader import Reader, split

_BATCH_BYTES = 2 << 20
_BATCH_ENTRIES = 256
_BATCH_SEGMENTS = 16  # each is in memory whole while one of its blobs is
_GROUP_ENTRIES = 8192
_GROUPS = 6  # asked for ahead of the one whose steps are being taken


class Large(Struct, eq=False):
    """A large file while it is put back. `lost`: why its content cannot be had."""

    entry: Entry
    writing: Writing | None = None
    written_bytes: int = 0
    lost: str = ""


class Step(Struct):
    """Small files; or one entry without content; or a piece of a large file, whose last one is
    empty and counts as its entry."""

    entries: list[Entry] = field(default_factory=list)
    ids: list[list[bytes]] = field(default_factory=list)  # of each small file, or of the piece
    large: Large | None = None
    offset: int = 0  # of the piece in the file's content
    segments: set[int] = field(default_factory=set)  # in which the blobs lie
    coming: Coming = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        return not self.ids and self.large is None

    def blobs(self) -> list[bytes]:
        return [blob_id for own in self.ids for blob_id in own]


def steps(reader: Reader, entries: Iterable[Entry]) -> Iterator[Step]:
    """Small files in batches, which end before a large one: what was stored together is read
    together. What has no content comes at once."""
    batch, batch_bytes = Step(), 0
    for entry in entries:
        if not _has_content(entry):
            yield Step([entry])
            continue
        is_large = entry.size > SMALL_BYTES or entry.indirect
        if is_large or batch_bytes >= _BATCH_BYTES or _is_full(batch):
            yield from (batch,) if batch.entries else ()
            batch, batch_bytes = Step(), 0
        if is_large:
            yield from _pieces(reader, entry)
        else:
            ids = split(entry.blobs)
            batch.entries.append(entry)
            batch.ids.append(ids)
            batch.segments |= reader.segments(ids)
            batch_bytes += entry.size
    if batch.entries:
        yield batch


def _is_full(batch: Step) -> bool:
    return len(batch.entries) >= _BATCH_ENTRIES or len(batch.segments) >= _BATCH_SEGMENTS


def _has_content(entry: Entry) -> bool:
    return entry.kind == Kind.FILE and not (entry.problem and not entry.blobs)


def _pieces(reader: Reader, entry: Entry) -> Iterator[Step]:
    large = Large(entry)
    try:
        ids = reader.leaves(entry)
    except IntegrityError as error:
        large.lost = error.what
    else:
        offset = 0
        for window in reader.windows(ids):
            yield Step(ids=[window.ids], large=large, offset=offset, segments=window.segments)
            offset += window.size_bytes
    yield Step([entry], large=large)


def fetched_ahead(reader: Reader, ahead: Ahead, taken: Iterable[Step]) -> Iterator[Step]:
    """The same steps, in order, each with what is on its way for it."""
    groups: deque[list[Step]] = deque()
    for group in _groups(reader, ahead, taken):
        coming = reader.begin(ahead, set().union(*(step.segments for step in group)))
        for step in group:
            step.coming = coming
        groups.append(group)
        if len(groups) > _GROUPS:
            yield from groups.popleft()
    while groups:
        yield from groups.popleft()


def _groups(reader: Reader, ahead: Ahead, taken: Iterable[Step]) -> Iterator[list[Step]]:
    """Steps for which about one long range must be read."""
    group: list[Step] = []
    new: dict[int, int] = {}
    entries = 0
    for step in taken:
        group.append(step)
        new |= reader.missing(o for o in step.segments if o not in ahead)
        entries += max(1, len(step.entries))
        if entries >= _GROUP_ENTRIES or sum(new.values()) >= ahead.group_bytes:
            yield group
            group, new, entries = [], {}, 0
    if group:
        yield group
