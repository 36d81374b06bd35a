"""Packs that are mostly dead, or very small, become few full ones; indexes become few, too.

A host cannot open segments, and need not: a segment's seal binds its session, its number, its
compression and its length, never its pack. So it is copied byte for byte and keeps its name in all
refs. Its pack is proven by its own name first, so that no damage gets a name that proves it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

from msgspec import Struct, field
from msgspec.structs import replace

from drctl.codec import documents, pack, table
from drctl.codec.limits import PACK_TARGET_BYTES
from drctl.codec.table import PackTable, Segment
from drctl.errors import AlreadyExists, IntegrityError, NotFound
from drctl.repository import names, standins
from drctl.repository.collect import use_of
from drctl.repository.repository import Repository
from drctl.repository.survey import Needs, PackUse, Survey

_SMALL_BYTES = 2 << 20
_FEW = 16  # so many small packs or index objects do no harm
_PACKS_AN_INDEX = 256


class Rewriting(Struct, frozen=True):
    """Which packs are copied; `read_bytes` are read for it, `freed_bytes` are dead in them."""

    packs: tuple[PackUse, ...] = ()
    read_bytes: int = 0
    freed_bytes: int = 0


def plan(s: Survey, needs: Needs, grace_ns: int, budget_bytes: int) -> Rewriting:
    """Most dead first. What is younger than the grace period may belong to a run under way."""
    marked = s.marked("packs")
    live = use_of(s, needs, marked).live_bytes
    found = [
        use
        for digest, use in s.packs.items()
        if live.get(digest, 0) and use.info.modified_ns <= s.now_ns - grace_ns
    ]
    wanted = [use for use in found if _is_mostly_dead(use, live[use.name], needs)]
    wanted.sort(key=lambda use: (live[use.name] / use.info.size_bytes, use.name))
    names_wanted = {use.name for use in wanted}
    small = _small([use for use in found if use.name not in names_wanted])
    chosen = _within(wanted + small, budget_bytes)
    spent = sum(use.info.size_bytes for use in chosen)
    return Rewriting(tuple(chosen), spent, spent - sum(live[use.name] for use in chosen))


def _is_mostly_dead(use: PackUse, live_bytes: int, needs: Needs) -> bool:
    """By its segments: what else is in a pack, its table and its ends, the new one has as well. One
    that would be copied whole gains nothing, and would be copied for ever."""
    held_bytes = sum(size for _, size in use.segments)
    gains = any(segment not in needs for segment, _ in use.segments)
    return gains and live_bytes * 2 < held_bytes


def _small(found: list[PackUse]) -> list[PackUse]:
    """Small packs that are mostly live, where they are many."""
    small = [use for use in found if use.info.size_bytes < _SMALL_BYTES]
    return sorted(small, key=lambda use: use.name) if len(small) > _FEW else []


def _within(wanted: list[PackUse], budget_bytes: int) -> list[PackUse]:
    chosen, spent = [], 0
    for use in wanted:
        if spent + use.info.size_bytes <= budget_bytes:
            chosen.append(use)
            spent += use.info.size_bytes
    return chosen


class _Filling(Struct):
    parts: list[bytes] = field(default_factory=lambda: [pack.MAGIC])
    segments: list[Segment] = field(default_factory=list)
    size_bytes: int = pack.HEAD_BYTES


def rewrite(
    repository: Repository, packs: Iterable[PackUse], needs: Needs, damaged: Callable[[str], None]
) -> list[PackTable]:
    """Copy the needed segments of packs to new packs. Gives the new packs' tables; one that is
    damaged is told to `damaged`."""
    found = (x for use in packs for x in _needed(repository, use, needs, damaged))
    return pack_anew(repository, found)


def pack_anew(repository: Repository, sealed: Iterable[tuple[Segment, bytes]]) -> list[PackTable]:
    """Store segments, as they are, in new packs. Gives their tables."""
    made = []
    filling = _Filling()
    for segment, data in sealed:
        if filling.size_bytes + len(data) > PACK_TARGET_BYTES and filling.segments:
            made.append(_store(repository, filling))
            filling = _Filling()
        filling.segments.append(replace(segment, offset=filling.size_bytes))
        filling.parts.append(data)
        filling.size_bytes += len(data)
    if filling.segments:
        made.append(_store(repository, filling))
    return made


def _needed(
    repository: Repository, use: PackUse, needs: Needs, damaged: Callable[[str], None]
) -> Iterator[tuple[Segment, bytes]]:
    """A pack that is gone, or damaged, gives nothing: then it stays as it is."""
    try:
        data, segments = _proven(repository, use)
    except NotFound:
        return
    except IntegrityError as error:
        return damaged(f"{error.what}: it stays as it is; run 'drctl verify --repair'")
    for segment in segments:
        if (segment.session, segment.number) in needs:
            yield segment, data[segment.offset : segment.offset + segment.stored_bytes]


def _proven(repository: Repository, use: PackUse) -> tuple[bytes, Sequence[Segment]]:
    """A pack, and what lies in it. Raises IntegrityError, NotFound."""
    data = repository.read(use.info.name)
    if sha256(data).hexdigest() != use.name:
        raise IntegrityError(f"{repository.where}: {use.info.name} is not what was written")
    return data, repository.toc_in(use.info.name, data).segments


def _store(repository: Repository, filling: _Filling) -> PackTable:
    toc = table.encode([PackTable(b"", tuple(filling.segments))])
    data = b"".join((*filling.parts, pack.tail(repository.seal_toc(toc))))
    name = names.hashed(names.PACKS, data)
    repository.storage.put(name, data)
    return PackTable(bytes.fromhex(names.digest_of(name)), tuple(filling.segments))


# -- indexes --------------------------------------------------------------------------------------


def stale_index(s: Survey, going: frozenset[str]) -> list[str]:
    """Index objects that name a pack which is gone or goes, and the small ones where they are
    many. Those that tell what needed packs held which were lost stay."""
    others = s.marked("index") | s.telling.keys()
    unmarked = {d: packs for d, packs in s.index.items() if d not in others}
    staying = s.packs.keys() - going
    stale = {digest for digest, packs in unmarked.items() if not packs <= staying}
    small = {d for d, packs in unmarked.items() if len(packs) < _PACKS_AN_INDEX // 4}
    return sorted(stale | small if len(small - stale) > _FEW else stale)


def merge_index(
    repository: Repository, s: Survey, stale: Iterable[str], going: frozenset[str]
) -> None:
    """Say anew what stale index objects say of packs that stay."""
    stale = list(stale)
    others = s.marked("index") | set(stale)
    said = {pack for digest, packs in s.index.items() if digest not in others for pack in packs}
    wanted = s.packs.keys() - going - said
    group: list[PackTable] = []
    for found in standins.tables_of(repository, stale):
        if found.name.hex() in wanted:
            wanted = wanted - {found.name.hex()}
            group.append(found)
            if len(group) >= _PACKS_AN_INDEX:
                put_index(repository, group)
                group = []
    put_index(repository, group)


def put_index(repository: Repository, tables: list[PackTable]) -> None:
    if tables:
        plain = table.encode(tables)
        try:
            repository.put_meta(names.INDEX, documents.INDEX_MAGIC, plain)
        except AlreadyExists:
            return
