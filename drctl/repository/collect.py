"""Collection: what nothing needs is marked, and deleted a grace period later.

Two functions of a survey say what may go, `to_mark` and `to_delete`; the rest puts marks and sweeps
them. Why no live data is ever deleted, whoever is killed or paused at whatever call, stands in
docs/format.md; tests/model/test_collect.py tries it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor

from msgspec import Struct, field

from drctl.codec.documents import Manifest
from drctl.errors import StorageError
from drctl.logpieces import LogPiece, in_order, newest_file, outlived
from drctl.repository import names, runs, survey, trash
from drctl.repository.log import is_piece, session_of
from drctl.repository.repository import Repository
from drctl.repository.retention import CLOCKS_DIFFER_NS
from drctl.repository.standins import SegmentId
from drctl.repository.survey import Needs, PackUse, Survey
from drctl.repository.trash import Mark, Seen
from drctl.storage.base import Storage


class Use(Struct, frozen=True):
    """What is needed of the packs. `segments`: what each live pack alone has, in stored bytes."""

    live_bytes: Mapping[str, int]
    dead: frozenset[str]


class Swept(Struct):
    """What a sweep did. `kept`: what the storage refused to delete, a sentence each."""

    objects: int = 0
    freed_bytes: int = 0
    kept: list[str] = field(default_factory=list)


# -- what may go ----------------------------------------------------------------------------------


def to_mark(s: Survey, grace_ns: int, replaced: frozenset[str] = frozenset()) -> Mark:
    """What nothing needs and no mark names yet. What was never needed by a snapshot must be older
    than the grace period: it may be the beginning of a run. `replaced`: packs whose live segments
    were copied to others."""
    old_ns = s.now_ns - grace_ns
    trashed = frozenset(s.trashed) - s.held.keys()
    staying = [m for d, m in (*s.snapshots.items(), *s.trashed.items()) if d not in trashed]
    kept = {manifest.refs for manifest in staying}
    retired = {s.trashed[digest].refs for digest in trashed} - kept
    orphans = {
        digest
        for digest, info in s.refs_infos.items()
        if digest not in kept and digest not in retired and info.modified_ns <= old_ns
    }
    going = retired | orphans
    needs = Needs(refs for digest, refs in s.refs.items() if digest not in going)
    had = Needs(s.refs[digest] for digest in retired if digest in s.refs)
    marked = s.marked("packs")
    dead = use_of(s, needs, marked, replaced).dead
    packs = frozenset(
        digest
        for digest in dead
        if digest in replaced
        or s.packs[digest].info.modified_ns <= old_ns
        or _has(s.packs[digest], had)
    )
    log = outlived_log(s.pieces, staying) | abandoned_log(s.pieces, staying, old_ns)
    sessions = _ended_sessions(s, packs | marked & s.packs.keys(), log | s.marked("log"), old_ns)
    return Mark(
        snapshots=_sorted(trashed - s.marked("snapshots")),
        refs=_sorted((going & s.refs_infos.keys()) - s.marked("refs")),
        packs=_sorted(packs),
        log=_sorted(log - s.marked("log")),
        sessions=_sorted(sessions - s.marked("sessions")),
    )


def use_of(
    s: Survey, needs: Needs, going: frozenset[str], last: frozenset[str] = frozenset()
) -> Use:
    """Which packs are needed. Of a segment that several packs hold, the pack that is used most
    counts, and those that are `last`, or broken, only when no other has it; packs that are going
    count for nothing."""
    stays = [use for digest, use in s.packs.items() if digest not in going]
    live = {use.name: _live_bytes(use, needs) for use in stays}
    counted: set[SegmentId] = set()
    result: dict[str, int] = {}
    dead = set()

    def rank(use: PackUse) -> tuple[bool, float, str]:
        is_last = use.name in last or use.name in s.broken
        return is_last, -live[use.name] / (use.info.size_bytes or 1), use.name

    for use in sorted(stays, key=rank):
        mine = [
            (segment, size)
            for segment, size in use.segments
            if segment in needs and segment not in counted
        ]
        if not mine and use.segments:
            dead.add(use.name)
        counted.update(segment for segment, _ in mine)
        result[use.name] = sum(size for _, size in mine)
    return Use(result, frozenset(dead))


def to_delete(s: Survey, seen: Seen) -> Mark:
    """What of a mark is still not needed: everything that the mark does not name is a reason to
    keep what it needs."""
    mark = seen.mark
    snapshots = s.condemned_by(seen) - s.held.keys()
    trashed = (manifest for d, manifest in s.trashed.items() if d not in snapshots)
    staying = (*s.snapshots.values(), *trashed)
    named = {manifest.refs for manifest in staying}
    refs = (frozenset(mark.refs) & s.refs_infos.keys()) - named
    needs = Needs(found for digest, found in s.refs.items() if digest not in refs)
    packs = _needless_packs(s, frozenset(mark.packs), needs)
    needless = outlived_log(s.pieces, staying) | abandoned_log(s.pieces, staying)
    log = frozenset(mark.log) & needless
    return Mark(
        snapshots=_sorted(snapshots),
        refs=_sorted(refs),
        index=_sorted(_needless_index(s, frozenset(mark.index), packs)),
        packs=_sorted(packs),
        log=_sorted(log),
        sessions=_sorted(_unused(s, s.sessions.keys() & set(mark.sessions), packs, log)),
    )


def outlived_log(pieces: Iterable[LogPiece], staying: Iterable[Manifest]) -> frozenset[str]:
    """Pieces of logs before the first file that any snapshot which stays needs."""
    first: dict[str, str] = {}
    for manifest in staying:
        stream = manifest.facts.get("log_stream", "")
        needed = manifest.facts.get("log_first", "")
        first[stream] = min(first.get(stream, needed), needed, key=in_order)
    known = list(pieces)
    return frozenset(
        piece.name
        for stream, file in first.items()
        for piece in outlived((p for p in known if p.name.split("/")[1] == stream), file)
    )


def abandoned_log(
    pieces: Iterable[LogPiece], staying: Iterable[Manifest], old_ns: int | None = None
) -> frozenset[str]:
    """Old pieces of logs that no snapshot which stays begins. Young ones may belong to a base that
    is being taken. The newest file of each log stays: a server that is followed without a base goes
    on there, and by it is seen which of a server's logs came after which. `old_ns`: stored by then;
    None: whenever it was."""
    begun = {manifest.facts.get("log_stream", "") for manifest in staying}
    by_stream: dict[str, list[LogPiece]] = {}
    for piece in pieces:
        stream = piece.name.split("/")[1]
        if stream not in begun:
            by_stream.setdefault(stream, []).append(piece)
    return frozenset(
        piece.name
        for of_stream in by_stream.values()
        for piece in outlived(of_stream, newest_file(of_stream))
        if old_ns is None or piece.stored_at_ns <= old_ns
    )


def _needless_packs(s: Survey, wanted: frozenset[str], needs: Needs) -> frozenset[str]:
    """Packs whose needed segments all lie in packs that no mark names and that are whole."""
    marked = s.marked("packs")
    asked = {
        segment
        for digest in wanted & s.packs.keys()
        for segment, _ in s.packs[digest].segments
        if segment in needs
    }
    if asked:
        for digest, use in s.packs.items():
            if digest not in marked and digest not in s.broken:
                asked.difference_update(segment for segment, _ in use.segments)
    return frozenset(
        digest
        for digest in wanted & s.packs.keys()
        if not any(segment in asked for segment, _ in s.packs[digest].segments)
    )


def _needless_index(s: Survey, wanted: frozenset[str], going: frozenset[str]) -> frozenset[str]:
    """Index objects of which every pack that stays is named by one that no mark names, and that
    tell nothing of lost packs that somebody needs."""
    marked = s.marked("index")
    covered = {pack for digest, packs in s.index.items() if digest not in marked for pack in packs}
    staying = s.packs.keys() - going
    return frozenset(
        digest
        for digest in wanted & s.index.keys()
        if s.index[digest] & staying <= covered and digest not in s.telling
    )


def _ended_sessions(
    s: Survey, packs: frozenset[str], log: frozenset[str], old_ns: int
) -> frozenset[str]:
    """Sessions of what goes and of nothing that stays, and old ones of nothing at all: a killed
    run's, or a log's whose pieces others replaced. One that refs name may have its pack come back
    from a copy."""
    ended = {session for digest in packs for session in sessions_of(s.packs[digest])}
    ended |= {session_of("", info.name) for info in s.log if info.name in log}
    named = {session.hex() for refs in s.refs.values() for session in refs.segments}
    old = {digest for digest, info in s.sessions.items() if info.modified_ns <= old_ns}
    return _unused(s, (ended | (old - named)) & s.sessions.keys(), packs, log)


def _unused(
    s: Survey, sessions: Iterable[str], packs: frozenset[str], log: frozenset[str]
) -> frozenset[str]:
    """Those of which no pack that stays, and no piece of a log, has need."""
    found = set(sessions)
    if not s.knows_all_packs:
        return frozenset()
    if found:
        found.difference_update(session_of("", i.name) for i in s.log if i.name not in log)
    for digest, use in s.packs.items():
        if found and digest not in packs:
            found -= sessions_of(use)
    return frozenset(found)


def sessions_of(use: PackUse) -> set[str]:
    """The sessions that a pack needs."""
    return {session.hex() for (session, _), _ in use.segments}


def _live_bytes(use: PackUse, needs: Needs) -> int:
    return sum(size for segment, size in use.segments if segment in needs)


def _has(use: PackUse, needs: Needs) -> bool:
    return any(segment in needs for segment, _ in use.segments)


def _sorted(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(found))


# -- sweeping -------------------------------------------------------------------------------------


def is_ripe(seen: Seen, now_ns: int, host_ns: int, grace_ns: int) -> bool:
    """Whether the grace period is over by the clock of the storage and by that of the host:
    either may have been set ahead."""
    if seen.since_ns is None or is_doubtful(seen, now_ns, host_ns):
        return False
    return now_ns >= seen.since_ns + grace_ns and host_ns >= seen.noted.host_ns + grace_ns


def is_doubtful(seen: Seen, now_ns: int, host_ns: int) -> bool:
    """Whether nobody can tell since when a mark is there: a clock said so that was ahead, or had
    fallen back behind what was stored before, and was set right since."""
    if seen.since_ns is None:
        return True
    was_behind = seen.since_ns + CLOCKS_DIFFER_NS < seen.noted.latest_ns < now_ns
    latest_ns, latest_host_ns = now_ns + CLOCKS_DIFFER_NS, host_ns + CLOCKS_DIFFER_NS
    return was_behind or seen.since_ns > latest_ns or seen.noted.host_ns > latest_host_ns


def in_the_way(
    storage: Storage, seen: Seen, patience_ns: int, now_ns: int
) -> tuple[runs.Sign, ...]:
    """The living runs that a sweep of a mark waits for."""
    writing = [x for x in runs.signs(storage, names.WRITING) if x.id in seen.witnesses]
    found = (*writing, *runs.signs(storage, names.REVIVING))
    return tuple(sign for sign in found if _is_alive(sign, patience_ns, now_ns))


def _is_alive(sign: runs.Sign, patience_ns: int, now_ns: int) -> bool:
    """A time to come is of a clock that was wrong: it would never end. Whoever lives sees that he
    was taken for dead."""
    return now_ns - patience_ns < sign.shown_ns <= now_ns + CLOCKS_DIFFER_NS


def sweep(repository: Repository, seen: Seen, patience_ns: int, pool: Executor) -> Swept | None:
    """Delete what a ripe mark names and nothing needs, then the mark. None: a run is under way that
    may not know the mark, or that relies on marked objects; the mark stays for another time. A run
    that has not shown itself for `patience_ns` is taken for dead."""
    own_id = repository.randomness(16).hex()
    if not _nobody_is_at_it(repository, seen, patience_ns, own_id):
        return None
    s = survey.look(repository, pool)
    present = next((m for m in s.marks if m.digest == seen.digest), None)
    if present is None:
        trash.end_sweep(repository.storage, seen.digest, own_id)
        return Swept()  # another collection was faster
    going = to_delete(s, present)
    trash.note_swept(repository, going.refs)
    done = _delete(repository, s, going, pool)
    trash.remove_mark(repository.storage, seen.digest)
    return done


def _nobody_is_at_it(repository: Repository, seen: Seen, patience_ns: int, own_id: str) -> bool:
    """The order matters: the signs of the runs that may not know the mark go before the sweep is
    announced, and it is announced before anybody who relies on marked objects is looked for."""
    storage = repository.storage
    now_ns = trash.storage_now_ns(storage)

    def is_alive(sign: runs.Sign) -> bool:
        return _is_alive(sign, patience_ns, now_ns)

    unknowing = [x for x in runs.signs(storage, names.WRITING) if x.id in seen.witnesses]
    if not _put_out(repository, unknowing, is_alive):
        return False
    trash.begin_sweep(storage, seen.digest, own_id)
    if _put_out(repository, runs.signs(storage, names.REVIVING), is_alive):
        return True
    trash.end_sweep(storage, seen.digest, own_id)
    return False


def _put_out(
    repository: Repository, signs: Iterable[runs.Sign], is_alive: Callable[[runs.Sign], bool]
) -> bool:
    """Whether none of these runs is alive; the dead ones' signs are gone then."""
    found = list(signs)
    if any(map(is_alive, found)):
        return False
    for sign in found:
        runs.put_out(repository.storage, sign)
    return True


def _delete(repository: Repository, s: Survey, going: Mark, pool: Executor) -> Swept:
    """In the mark's order, so that whoever is killed here leaves nothing that misses something. So
    a session stays with what needs it and the storage refused to delete."""
    done = Swept()
    sizes = sizes_of(s)
    staying: set[str] = set()

    def delete(name: str) -> str:
        try:
            repository.storage.delete(name)
        except StorageError as error:
            return error.what
        return ""

    for found in _names(going):
        chosen = [name for name in found if name not in staying]
        for name, refused in zip(chosen, pool.map(delete, chosen), strict=True):
            if refused:
                done.kept.append(refused)
                staying |= _opened_by(s, name)
            else:
                done.objects += 1
                done.freed_bytes += sizes.get(name, 0)
    return done


def _opened_by(s: Survey, name: str) -> set[str]:
    """The sessions, by their whole names, that a pack or a piece of a log needs."""
    if is_piece(name):
        return {names.SESSIONS + session_of("", name)}
    use = s.packs.get(names.digest_of(name)) if name.startswith(names.PACKS) else None
    return {names.SESSIONS + session for session in sessions_of(use)} if use else set()


def bytes_of(s: Survey, mark: Mark) -> int:
    """What deleting all that a mark names gives back; manifests and sessions are too small to
    count."""
    sizes = sizes_of(s)
    return sum(sizes.get(name, 0) for chosen in _names(mark) for name in chosen)


def sizes_of(s: Survey) -> dict[str, int]:
    """Of objects by their whole names."""
    infos = (*(use.info for use in s.packs.values()), *s.refs_infos.values(), *s.log)
    found = {info.name: info.size_bytes for info in infos}
    return found | {names.INDEX + digest: size for digest, size in s.index_bytes.items()}


def _names(mark: Mark) -> Iterator[list[str]]:
    """Whole names, in the order in which they go."""
    for folder, digests in (
        (names.TRASHED, mark.snapshots),
        (names.REFS, mark.refs),
        (names.INDEX, mark.index),
        (names.PACKS, mark.packs),
        ("", mark.log),
        (names.SESSIONS, mark.sessions),
    ):
        yield [names.named(folder, digest) for digest in digests]
