"""Where each asset stands: what could be brought back, from where, and how old it would be.

It reads listings, manifests and the newest refs, so it needs the writer credential and no more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Literal

from msgspec import Struct, field

from drctl.errors import IntegrityError, KeyUnavailable, StorageError
from drctl.logpieces import LogPiece
from drctl.model import Snapshot
from drctl.ops import logway
from drctl.ops.copying import at_copy, prunes
from drctl.ops.leaving import ALL, leave
from drctl.ops.logway import Way
from drctl.ops.openable import lost_sessions
from drctl.repository import catalog, keyring, lines, names
from drctl.repository.catalog import Catalog
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.storage.base import ObjectInfo

Verdict = Literal["met", "missed", "unknown", "none"]  # none: there is no objective
_NOTHING = Catalog((), ())
_CLOCKS_APART_SECONDS = 60.0  # a point this far in the future: whose clock is right, nobody knows
_UNDER_WAY_NS = 60 * 10**9  # a stream copies every ten seconds, unless it is told otherwise


class Seen(Struct, frozen=True):
    """A repository as it was found. `trouble`: why it could not be asked; then it holds nothing."""

    name: str
    original: str | None  # what it is a copy of
    repository: Repository | None = None
    found: Catalog = _NOTHING
    objects: Mapping[str, ObjectInfo] = field(default_factory=dict)  # all that a copy needs
    trouble: str = ""
    is_damaged: bool = False  # what opens it is: it answers, and does not open
    wrong: tuple[str, ...] = ()  # what a listing shows to be lost, a sentence each


class Standing(Struct, frozen=True):
    """An asset in a repository. The newest point that nothing speaks against counts; `by` says
    whether it is a snapshot or a log that ends later."""

    asset: str
    repository: str
    verdict: Verdict
    rpo_seconds: float | None
    newest: Snapshot | None = None  # whatever it is like
    point_ns: int | None = None
    age_seconds: float | None = None
    by: Literal["snapshot", "log", ""] = ""
    suspects: tuple[Snapshot, ...] = ()
    why: str = ""  # of `unknown`
    gap: str = ""  # in the log behind the newest sound snapshot: the point lies before it
    others: tuple[str, ...] = ()  # hosts that save it, too, and that this one did not take over


class Lag(Struct, frozen=True):
    """How far a copy is behind. `seconds` is None where it lacks an asset altogether, and all is
    None where one of the two could not be asked. `is_under_way`: it lacks nothing but pieces of
    logs that have just been stored, which 'drctl stream' copies by itself."""

    repository: str
    original: str
    seconds: float | None = None
    objects: int | None = None
    size_bytes: int | None = None
    is_under_way: bool = False

    @property
    def is_behind(self) -> bool:
        return bool(self.objects) and not self.is_under_way


def look(
    name: str, original: str | None, opening: Callable[[], Repository], pool: Executor
) -> Seen:
    """Ask a repository. One that does not answer, or whose own secret is missing, is told of, and
    hides no other."""
    try:
        repository = opening()
        # Snapshots are read first: what they need is there by then, and listed afterwards.
        found = catalog.load(repository, pool)
        folders = pool.map(lambda f: list(repository.storage.list(f)), names.COPY_ORDER)
        objects = {info.name: info for folder in folders for info in folder}
        sealed = lost_sessions(repository, found, objects.keys(), pool)
    except (StorageError, IntegrityError, KeyUnavailable) as error:
        is_damaged = isinstance(error, IntegrityError)
        return Seen(name, original, trouble=error.what, is_damaged=is_damaged)
    lost = keyring.lost(repository.claimed, objects)
    keyless = (keyring.told_lost(name, recipient) for recipient in lost)
    return Seen(name, original, repository, found, objects, wrong=(*keyless, *sealed))


def standings(
    wanted: Mapping[str, float | None], seen: Sequence[Seen], now_ns: int, host: str
) -> list[Standing]:
    """Every asset in every repository; `wanted`: asset -> its objective in seconds. `host`: whose
    snapshots, and those that it took over, meet it."""
    stored = _first_stored(seen)
    return [
        _standing(asset, rpo, one, stored, now_ns, host)
        for asset, rpo in wanted.items()
        for one in seen
    ]


def _standing(
    asset: str, rpo: float | None, seen: Seen, stored: Mapping[str, int], now_ns: int, host: str
) -> Standing:
    if seen.trouble:
        verdict: Verdict = "none" if rpo is None else "unknown"
        return Standing(asset, seen.name, verdict, rpo, why="the repository could not be asked")
    of_asset = seen.found.line(asset, host)
    mine = set(lines.hosts(of_asset))
    others = tuple(h for h in lines.hosts(seen.found.of(asset)) if h not in mine)
    sound = [s for s in of_asset if not s.suspect]
    suspects = tuple(s for s in of_asset if s.suspect)
    way = _way(sound[-1], seen, stored) if sound else Way()
    point_ns, by = _point(sound, way)
    age = None if point_ns is None else (now_ns - point_ns) / 1e9
    verdict, why = _judge(rpo, age, of_asset, now_ns)
    newest = of_asset[-1] if of_asset else None
    return Standing(
        asset, seen.name, verdict, rpo, newest, point_ns, age, by, suspects, why, way.gap, others
    )


def _judge(
    rpo: float | None, age: float | None, of_asset: Sequence[Snapshot], now_ns: int
) -> tuple[Verdict, str]:
    if rpo is None:
        return "none", ""
    if age is not None and age < -_CLOCKS_APART_SECONDS:
        last = of_asset[-1]
        whose = f"snapshot {last.short}, the newest, was made on {last.host}"
        return "unknown", f"its newest point lies in the future: a clock is wrong; {whose}"
    if age is not None and age <= rpo:
        return "met", ""
    newest = of_asset[-1] if of_asset else None
    if newest and newest.suspect and (now_ns - newest.consistent_at_ns) / 1e9 <= rpo:
        return "unknown", f"the newest snapshot is suspect: {newest.suspect}"
    return "missed", ""


# -- points of a log ------------------------------------------------------------------------------


def _first_stored(seen: Sequence[Seen]) -> dict[str, int]:
    """When each piece of a log came to the first place that has it: a copy of it is younger than
    what it holds."""
    found: dict[str, int] = {}
    for one in seen:
        for name, info in one.objects.items():
            if name.startswith(names.LOG):
                found[name] = min(info.modified_ns, found.get(name, info.modified_ns))
    return found


def _point(
    sound: Sequence[Snapshot], way: Way
) -> tuple[int | None, Literal["snapshot", "log", ""]]:
    if not sound:
        return None, ""
    newest = sound[-1]
    if way.stored_at_ns > newest.consistent_at_ns:
        return way.stored_at_ns, "log"
    return newest.consistent_at_ns, "snapshot"


def _way(snapshot: Snapshot, seen: Seen, stored: Mapping[str, int]) -> Way:
    """The log that continues a snapshot, each piece as old as the oldest copy of it."""
    stream = snapshot.facts.get("log_stream")
    if not stream or seen.repository is None:
        return Way()
    storage, prefix = seen.repository.storage, f"{names.LOG}{stream}/"

    def pieces(found: Iterable[ObjectInfo]) -> Iterator[LogPiece]:
        oldest = ((info.name, stored.get(info.name, info.modified_ns)) for info in found)
        return logway.named(storage.where, oldest)

    known = (info for name, info in seen.objects.items() if name.startswith(prefix))
    way = logway.along(snapshot, pieces(known))
    with suppress(StorageError):
        way = logway.confirmed(snapshot, lambda: pieces(storage.list(prefix)), way)
    return logway.or_begun_anew(way, snapshot, lambda t: any(n.startswith(t) for n in seen.objects))


# -- copies ---------------------------------------------------------------------------------------


def lost_at(origin: Seen, copy: Seen, rule: Rule | None) -> int:
    """How many snapshots the copy has that the repository has lost: with a rule, or a trash, they
    may have been removed as they should."""
    if rule is not None or origin.repository is None:
        return 0
    gone = {n for n in copy.objects if n.startswith(names.SNAPSHOTS)} - origin.objects.keys()
    trashed = {names.digest_of(i.name) for i in origin.repository.storage.list(names.TRASHED)}
    return sum(1 for name in gone if names.digest_of(name) not in trashed) if gone else 0


def lags(
    seen: Sequence[Seen],
    told: Sequence[Standing],
    rules: Mapping[str, Rule | None],
    primary: str,
    pool: Executor,
    now_ns: int,
) -> list[Lag]:
    """Every repository against the one that backups are written to."""
    origin = next(one for one in seen if one.name == primary)
    return [
        _lag(origin, one, told, rules[one.name], pool, now_ns)
        for one in seen
        if one.name != origin.name
    ]


def _lag(
    origin: Seen,
    copy: Seen,
    told: Sequence[Standing],
    rule: Rule | None,
    pool: Executor,
    now_ns: int,
) -> Lag:
    if origin.trouble or copy.trouble:
        return Lag(copy.name, origin.name)
    left = _left_out(origin, copy, rule, pool)
    missing = [
        info
        for name, info in origin.objects.items()
        if name not in left
        and (name not in copy.objects or copy.objects[name].size_bytes != info.size_bytes)
    ]
    size_bytes = sum(info.size_bytes for info in missing)
    seconds = _seconds_behind(origin, copy, told)
    is_under_way = all(_is_fresh_log(info, now_ns) for info in missing)
    return Lag(copy.name, origin.name, seconds, len(missing), size_bytes, is_under_way)


def _is_fresh_log(info: ObjectInfo, now_ns: int) -> bool:
    """Or the session that its pieces are sealed with, which is stored before them."""
    of_log = info.name.startswith((names.LOG, names.SESSIONS))
    return of_log and now_ns - info.modified_ns < _UNDER_WAY_NS


def _left_out(origin: Seen, copy: Seen, rule: Rule | None, pool: Executor) -> frozenset[str]:
    """What the copy is not to be given, by the same judgement as a replication's."""
    if origin.repository is None or copy.repository is None:
        return ALL.names
    there = at_copy(origin.repository, copy.repository.storage)
    try:
        if not prunes(there.storage, rule):
            return ALL.names
        return leave(origin.repository, there, rule, pool).names
    except (StorageError, IntegrityError):
        return ALL.names  # a replication would copy all that is sound, too


def _seconds_behind(origin: Seen, copy: Seen, told: Sequence[Standing]) -> float | None:
    """Of the asset that is furthest behind."""
    here = {s.asset: s.point_ns for s in told if s.repository == origin.name}
    there = {s.asset: s.point_ns for s in told if s.repository == copy.name}
    worst = 0.0
    for asset, point_ns in here.items():
        copied_ns = there[asset]
        if point_ns is None:
            continue
        if copied_ns is None:
            return None
        worst = max(worst, (point_ns - copied_ns) / 1e9)
    return worst
