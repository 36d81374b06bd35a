"""Packs that a storage lost: a run stores anew what it still finds at the source, and somebody must
be told, since whatever took one may have taken more, and older content is at no source any more."""

from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress

from drctl.codec import documents
from drctl.codec.documents import Refs
from drctl.codec.table import Segment
from drctl.errors import IntegrityError, NotFound
from drctl.repository import catalog, names
from drctl.repository.index import Index
from drctl.repository.repository import Repository
from drctl.repository.survey import Needs


def lost_packs(repository: Repository, index: Index, pool: Executor) -> tuple[str, ...]:
    """Names of lost packs, and of those that hold what is too large to be read, that a snapshot
    needs and of which nothing was stored again yet, so that each is told once where that helps.
    What a repair put aside was told by it. Costs nothing where nothing is lost. Raises
    StorageError."""
    if not index.lost and not index.oversized:
        return ()
    aside = {names.digest_of(info.name) for info in repository.storage.list(names.DAMAGED)}
    here = index.segment_ids()
    needs = Needs(_refs(repository, pool))

    def is_missed(s: Segment) -> bool:
        return (s.session, s.number) in needs and not any(blob in index for blob, _ in s.blobs)

    def is_gone(s: Segment) -> bool:
        return (s.session, s.number) not in here and is_missed(s)

    gone = {pack.name.hex() for pack in index.lost if any(map(is_gone, pack.segments))}
    gone |= {index.place(at).pack.hex() for at, s in index.oversized if is_missed(s)}
    return tuple(names.named(names.PACKS, name) for name in sorted(gone - aside))


def _refs(repository: Repository, pool: Executor) -> Iterable[Refs]:
    """What does not read tells nothing: `verify` tells of it."""
    for digest in {s.refs for s in catalog.load(repository, pool).snapshots}:
        with suppress(NotFound, IntegrityError):
            plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, digest)
            yield documents.decode_refs(plain)
