"""A look at all of a repository, as collection needs it: what there is, and what needs what.

Marks are listed first, so that what a mark names is known to be marked before anything else is
looked at. Whatever does not read ends the look: who cannot tell what is needed deletes nothing.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor

from msgspec import Struct, field

from drctl.codec import documents
from drctl.codec.documents import Manifest, Refs
from drctl.codec.table import PackTable, decode
from drctl.errors import IntegrityError, NotFound
from drctl.logpieces import LogPiece
from drctl.repository import catalog, holds, names, standins, trash
from drctl.repository.log import is_piece, piece
from drctl.repository.reader import split
from drctl.repository.repository import Repository
from drctl.repository.standins import Lost, SegmentId
from drctl.storage.base import ObjectInfo, is_there

_MEND = "nothing is removed while nobody can tell what is needed: run 'drctl verify --repair'"
_CURE = _MEND + (
    "; where no other repository has it sound, 'drctl forget {}' gives that snapshot up"
)


class Needs:
    """Which segments are needed, as runs of numbers by session."""

    def __init__(self, refs: Iterable[Refs]) -> None:
        found: dict[bytes, set[tuple[int, int]]] = {}
        for one in refs:
            for session, runs in one.segments.items():
                pairs = zip(runs[::2], runs[1::2], strict=True)
                found.setdefault(session, set()).update((at, at + count) for at, count in pairs)
        self._of = {session: _merged(runs) for session, runs in found.items()}

    def __contains__(self, segment: SegmentId) -> bool:
        begins, ends = self._of.get(segment[0], ((), ()))
        at = bisect_right(begins, segment[1]) - 1
        return at >= 0 and segment[1] < ends[at]

    def lost(self, present: set[SegmentId]) -> int:
        """How many of them are not present. Refs may claim more than there could ever be: what is
        there is counted, not what is claimed."""
        claimed = sum(sum(ends) - sum(begins) for begins, ends in self._of.values())
        return claimed - sum(segment in self for segment in present)


def _merged(runs: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    begins: list[int] = []
    ends: list[int] = []
    for begin, end in sorted(runs):
        if ends and begin <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            begins.append(begin)
            ends.append(end)
    return begins, ends


class PackUse(Struct):
    """One pack that is there. `segments`: ids with their stored bytes."""

    info: ObjectInfo
    segments: list[tuple[SegmentId, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return names.digest_of(self.info.name)


class Survey(Struct):
    """What was seen. Names are digests. `index`: object -> the packs that it names. `refs` name
    what stands in for lost segments, too."""

    now_ns: int
    marks: list[trash.Seen]
    packs: dict[str, PackUse]
    sessions: dict[str, ObjectInfo]
    log: list[ObjectInfo]
    pieces: list[LogPiece]
    index: dict[str, frozenset[str]]
    index_bytes: dict[str, int]
    refs: dict[str, Refs]
    refs_infos: dict[str, ObjectInfo]
    snapshots: dict[str, Manifest]
    trashed: dict[str, Manifest]
    trashed_ns: dict[str, int]  # when each was removed, the last time
    held: Mapping[str, str]
    void: dict[str, Manifest] = field(default_factory=dict)  # they never were whole
    # Index objects that tell what lost segments held, and which of those some refs name.
    telling: Mapping[str, frozenset[SegmentId]] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()  # packs: cut short, without a session, or gone
    knows_all_packs: bool = True  # none is damaged: nobody can tell whose session that needs
    host_ns: int = 0  # the present by the host's own clock, where that is asked

    @property
    def seen_ns(self) -> int | None:
        """The newest time that the storage gave to anything: the present is not before it."""
        times = [self.now_ns, *(info.modified_ns for info in self.refs_infos.values())]
        return max(times) or None

    @property
    def present(self) -> trash.Present:
        """What is noted with a mark that is put now."""
        return trash.Present(self.host_ns, self.seen_ns or 0)

    def marked(self, folder: str, but: str = "") -> frozenset[str]:
        """What marks name below a folder, but for one mark."""
        return frozenset(n for s in self.marks if s.digest != but for n in getattr(s.mark, folder))

    def condemned_by(self, seen: trash.Seen) -> frozenset[str]:
        """Snapshots that a mark means: in the trash since before it. One that came back, and was
        removed again, has a grace period of its own."""
        since_ns = seen.since_ns or 0
        there = self.trashed.keys() & set(seen.mark.snapshots)
        return frozenset(d for d in there if self.trashed_ns.get(d, 0) <= since_ns)


def look(repository: Repository, pool: Executor, *, probe: bool = True) -> Survey:
    """Raises IntegrityError when something that tells what is needed does not read. Without
    `probe` nothing is written, and there is no present time."""
    storage = repository.storage
    now_ns = trash.storage_now_ns(storage) if probe else 0
    marks = trash.seen(repository)
    packs = {digest: PackUse(info) for digest, info in _infos(repository, names.PACKS).items()}
    listed_packs = len(packs)
    sessions = _infos(repository, names.SESSIONS)
    log = [info for info in storage.list(names.LOG) if is_piece(info.name)]
    lost = Lost({digest: use.info for digest, use in packs.items()}, sessions)
    index = _read_index(repository, packs, lost)
    snapshots = _manifests(repository, names.SNAPSHOTS, pool)
    removed = _infos(repository, names.TRASHED)
    trashed = _manifests(repository, names.TRASHED, pool)
    infos = _infos(repository, names.REFS)
    found = Survey(
        now_ns=now_ns,
        marks=marks,
        packs=packs,
        sessions=sessions,
        log=log,
        pieces=[piece(storage.where, i.name, i.modified_ns) for i in log],
        index={name: packs_of for name, (packs_of, _) in index.items()},
        index_bytes={name: size for name, (_, size) in index.items()},
        refs=_refs(repository, infos, pool),
        refs_infos=infos,
        snapshots=snapshots,
        trashed={d: m for d, m in trashed.items() if d not in snapshots},
        trashed_ns={digest: info.modified_ns for digest, info in removed.items()},
        held=holds.load(repository, pool),
        broken=frozenset(lost.broken),
        knows_all_packs=len(packs) == listed_packs,
    )
    _require_refs(repository, found)
    _need_stand_ins(repository, found, lost)
    return found


def _infos(repository: Repository, folder: str) -> dict[str, ObjectInfo]:
    found = repository.storage.list(folder)
    return {names.digest_of(info.name): info for info in found if names.is_id(info.name)}


# -- packs and indexes ----------------------------------------------------------------------------


def _read_index(
    repository: Repository, packs: dict[str, PackUse], lost: Lost
) -> dict[str, tuple[frozenset[str], int]]:
    """Note in `packs` what lies in each, and in `lost` what lay in others. Gives what each index
    object names, and its size."""
    found = {}
    for digest, info in _infos(repository, names.INDEX).items():
        try:
            plain = repository.get_meta(names.INDEX, documents.INDEX_MAGIC, digest)
        except NotFound:
            continue  # another collection was faster
        tables = decode(plain)
        found[digest] = frozenset(table.name.hex() for table in tables), info.size_bytes
        for table in tables:
            lost.note(digest, table)
            _note(packs, table)
    _read_unindexed(repository, packs)
    return found


def _read_unindexed(repository: Repository, packs: dict[str, PackUse]) -> None:
    """What no index names is read from the packs themselves. What does not read is nothing that
    anybody could need, or delete."""
    for use in [use for use in packs.values() if not use.segments]:
        try:
            _note(packs, repository.read_toc(use.info))
        except (NotFound, IntegrityError):
            del packs[use.name]


def _note(packs: dict[str, PackUse], table: PackTable) -> None:
    use = packs.get(table.name.hex())
    if use is not None and not use.segments:
        use.segments.extend(((s.session, s.number), s.stored_bytes) for s in table.segments)


# -- snapshots and refs ---------------------------------------------------------------------------


def _manifests(repository: Repository, folder: str, pool: Executor) -> dict[str, Manifest]:
    """Those that are gone by now are left out: another collection moved them."""
    digests = sorted(trash.listed(repository.storage, folder))

    def read(digest: str) -> Manifest | None:
        try:
            return catalog.manifest(repository, digest, folder)
        except NotFound:
            return None
        except IntegrityError as error:
            cure = _MEND if folder == names.TRASHED else _CURE.format(digest[:8])
            raise IntegrityError(error.what, hint=cure) from error

    found = zip(digests, pool.map(read, digests), strict=True)
    return {digest: manifest for digest, manifest in found if manifest is not None}


def _refs(
    repository: Repository, infos: Mapping[str, ObjectInfo], pool: Executor
) -> dict[str, Refs]:
    def read(digest: str) -> Refs | None:
        try:
            plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, digest)
        except NotFound:
            return None
        except IntegrityError as error:
            raise IntegrityError(error.what, hint=_CURE.format("SNAPSHOT")) from error
        with repository.naming(names.REFS + digest):
            return documents.decode_refs(plain)

    found = zip(infos, pool.map(read, infos), strict=True)
    return {digest: refs for digest, refs in found if refs is not None}


def _require_refs(repository: Repository, found: Survey) -> None:
    """A snapshot without refs: nobody can tell what it needs. One that was removed since it was
    listed does not count. Nor does one that was committed by a run that was taken for dead and then
    killed at once: a sweep took its refs, or it has no root. It never was whole."""
    lost = {d: m for d, m in found.snapshots.items() if m.refs not in found.refs}
    if not lost:
        return
    swept = trash.swept_refs(repository)  # noted before they go, so after they were looked for
    index = repository.load_index(lambda _: None, only_present=True)
    for digest, manifest in lost.items():
        del found.snapshots[digest]
        if not is_there(repository.storage, names.SNAPSHOTS + digest):
            continue
        if manifest.refs not in swept and all(root in index for root in split(manifest.root)):
            raise IntegrityError(
                f"{repository.where}: the refs of snapshot {digest[:8]} are lost",
                hint=_CURE.format(digest[:8]),
            )
        found.void[digest] = manifest


def _need_stand_ins(repository: Repository, found: Survey, lost: Lost) -> None:
    """Who needs a segment that was lost needs what its blobs were stored in again."""
    lost.keep(Needs(found.refs.values()))
    for use in found.packs.values() if lost.blobs else ():
        if use.name not in lost.broken:
            lost.without(segment for segment, _ in use.segments)
    if not lost.blobs:
        return
    found.telling = lost.telling()
    others = standins.stand_ins(repository, lost, found.index)
    for digest, refs in found.refs.items():
        needs = Needs([refs])
        more = {other for name, held in others.items() if name in needs for other in held}
        found.refs[digest] = standins.with_more(refs, sorted(more))
