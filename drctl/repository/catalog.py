"""The snapshots of a repository: list them, pick one, commit one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from msgspec import Struct, field

from drctl.codec import documents
from drctl.codec.documents import Manifest
from drctl.errors import IntegrityError, NotFound, StorageError, UsageError
from drctl.model import Snapshot
from drctl.repository import lines, names, suspects
from drctl.repository.repository import Repository
from drctl.repository.retention import CLOCKS_DIFFER_NS
from drctl.storage.base import ObjectInfo
from drctl.units import begin_of, show_instant

_T = TypeVar("_T")
_PARTS = 64


class Catalog(Struct, frozen=True):
    """What was found. `damaged` names the snapshots that do not read, one sentence each.

    The snapshots are in the order of their consistent points. One that was stored before its own
    point is of a clock that was `ahead`: it stands where it was stored, so that it is not taken
    for the newest until that time has come. `ahead`: its name, and when it was stored."""

    snapshots: tuple[Snapshot, ...]  # oldest first
    damaged: tuple[str, ...]
    ahead: Mapping[str, int] = field(default_factory=dict)

    def of(self, asset: str) -> tuple[Snapshot, ...]:
        """Of an asset; with `ASSET@HOST`, of one host."""
        name, at, host = asset.partition("@")
        return tuple(s for s in self.snapshots if s.asset == name and (not at or s.host == host))

    def line(self, asset: str, host: str) -> tuple[Snapshot, ...]:
        """Those of an asset that a host goes on with; see lines.line."""
        of_asset = self.of(asset)
        return of_asset if "@" in asset else lines.line(of_asset, host)

    def with_removed(self, removed: "Catalog") -> "Catalog":
        """With those that were removed, in their places. One may be found among both."""
        named = {s.name: s for s in (*removed.snapshots, *self.snapshots)}
        ahead = {**removed.ahead, **self.ahead}
        found = sorted(named.values(), key=lambda s: _age(s, ahead))
        return Catalog(tuple(found), self.damaged, ahead)

    def beside(self, picked: Snapshot, at_ns: int | None = None) -> list[Snapshot]:
        """Those of its line that lead to an instant, oldest first."""
        return [s for s in self._beside(picked) if at_ns is None or serves(s, at_ns)]

    def doubts(self, picked: Snapshot, now_ns: int) -> list[str]:
        """What is to be told with a snapshot that was picked: whose clock was ahead."""
        used = f"{picked.short}, of {show_instant(picked.consistent_at_ns)}, is used"
        other = "name another with its id ('drctl snapshots'), or give --at"
        told = [
            f"snapshot {s.short} says that it is of {show_instant(s.consistent_at_ns)}, but was "
            f"stored at {show_instant(self.ahead[s.name])}: the clock of {s.host} was ahead; "
            f"{used}; {other}"
            for s in self._beside(picked)
            if s.name in self.ahead
            and (s == picked or s.consistent_at_ns > picked.consistent_at_ns)
        ]
        past = [s for s in self._beside(picked) if s.consistent_at_ns <= now_ns]
        if not told and picked.consistent_at_ns > now_ns + CLOCKS_DIFFER_NS:
            newest = f"the newest that is not: {past[-1].short}; " if past else ""
            told = [f"{used}, which is yet to come by this machine's clock; {newest}{other}"]
        return told

    def _beside(self, picked: Snapshot) -> tuple[Snapshot, ...]:
        return self.line(picked.asset, picked.host)


def load(
    repository: Repository, pool: Executor | None = None, folder: str = names.SNAPSHOTS
) -> Catalog:
    """All snapshots. A damaged one never hides the others; one that was removed meanwhile is left
    out."""
    return load_listed(repository, repository.storage.list(folder), pool, folder)


def load_listed(
    repository: Repository,
    listed: Iterable[ObjectInfo],
    pool: Executor | None = None,
    folder: str = names.SNAPSHOTS,
) -> Catalog:
    """The same of those that were listed."""
    stored_ns = {names.digest_of(i.name): i.modified_ns for i in listed}

    def one(digest: str) -> Snapshot | str | None:
        try:
            return snapshot(digest, manifest(repository, digest, folder))
        except IntegrityError as error:
            return error.what
        except NotFound:
            return None  # it was removed since it was listed

    found = _each(one, list(stored_ns), pool)
    good = [s for s in found if isinstance(s, Snapshot)]
    ahead = {s.name: stored_ns[s.name] for s in good if _is_ahead(s, stored_ns[s.name])}
    damaged = tuple(s for s in found if isinstance(s, str))
    return Catalog(tuple(sorted(good, key=lambda s: _age(s, ahead))), damaged, ahead)


def _age(s: Snapshot, ahead: Mapping[str, int]) -> tuple[int, int, str]:
    return ahead.get(s.name, s.consistent_at_ns), s.finished_at_ns, s.name


def _is_ahead(found: Snapshot, stored_ns: int) -> bool:
    return found.consistent_at_ns > stored_ns + CLOCKS_DIFFER_NS


def _each(one: Callable[[str], _T], listed: Sequence[str], pool: Executor | None) -> list[_T]:
    """What each gives, in order. A thousand are handed to the pool in some dozens of parts: the
    handing over would take longer than the reading."""
    if pool is None:
        return [one(digest) for digest in listed]
    size = len(listed) // _PARTS + 1
    parts = [listed[i : i + size] for i in range(0, len(listed), size)]
    return [made for part in pool.map(lambda part: [one(d) for d in part], parts) for made in part]


def manifest(repository: Repository, digest: str, folder: str = names.SNAPSHOTS) -> Manifest:
    """Raises IntegrityError, NotFound."""
    plain = repository.get_meta(folder, documents.SNAPSHOT_MAGIC, digest)
    with repository.naming(folder + digest):
        return documents.decode_manifest(plain)


def commit(repository: Repository, manifest: Manifest) -> Snapshot:
    """Write the manifest: from here on the snapshot exists."""
    plain = documents.encode_struct(manifest)
    digest = repository.put_meta(names.SNAPSHOTS, documents.SNAPSHOT_MAGIC, plain)
    return snapshot(digest, manifest)


def snapshot(digest: str, m: Manifest) -> Snapshot:
    return Snapshot(
        name=digest,
        asset=m.asset,
        engine=m.engine,
        host=m.host,
        consistent_at_ns=m.consistent_at_ns,
        started_at_ns=m.started_at_ns,
        finished_at_ns=m.finished_at_ns,
        entries=m.entries,
        size_bytes=m.size_bytes,
        added_bytes=m.added_bytes,
        problems=m.problems,
        tags=m.tags,
        plan_digest=m.plan_digest,
        version=m.version,
        facts=dict(m.facts),
        root=m.root,
        refs=m.refs,
    )


def pick(
    catalog: Catalog, wanted: str, at_ns: int | None, assets: tuple[str, ...], host: str
) -> Snapshot:
    """The snapshot that a person at `host` means: an asset's last good one (not after `at_ns`; see
    suspects.newest), one of another host where `ASSET@HOST` says so, or a name's first digits.
    Raises UsageError saying what there is."""
    of_asset = catalog.of(wanted)
    if of_asset or wanted in assets:
        own = catalog.line(wanted, host)
        if of_asset and not own:
            raise of_several(wanted, lines.hosts(of_asset), host)
        return _newest(wanted, own, at_ns, catalog)
    named = [s for s in catalog.snapshots if s.name.startswith(wanted.lower())]
    if len(named) == 1 and len(wanted) >= 4:
        return _not_after(named[0], at_ns)
    if len(named) > 1:
        raise UsageError(f"{len(named)} snapshots begin with '{wanted}'", hint="give more digits")
    known = sorted({*assets, *(s.asset for s in catalog.snapshots)})
    raise UsageError(
        f"'{wanted}' is neither an asset nor a snapshot",
        hint=f"assets here: {', '.join(known) or 'none'}; 'drctl snapshots' lists the snapshots",
    )


def usable_from(found: Snapshot) -> int:
    """The instant from which on it serves. Replaying a log to an instant can only begin with a
    snapshot that was whole before it, so an engine with a log tells when that was."""
    told = found.facts.get("usable_from_ns", "")
    return int(told) if told.isdigit() else found.consistent_at_ns


def serves(found: Snapshot, at_ns: int) -> bool:
    """Whether it, or the log that goes on behind it, leads to an instant. A log leads to the begin
    of a second that was named; where there is none, that second means the snapshot."""
    return usable_from(found) <= (begin_of(at_ns) if found.facts.get("log_stream") else at_ns)


def before(catalog: Catalog, picked: Snapshot) -> list[Snapshot]:
    """A snapshot, and the sound ones before it whose log is the same one; newest first."""
    of_asset = catalog.of(picked.asset)
    older = of_asset[: of_asset.index(picked)]
    same = [s for s in older if s.facts.get("log_stream") == picked.facts.get("log_stream")]
    return [picked, *reversed([s for s in same if s.facts.get("corrupt_pages", "0") == "0"])]


def of_several(asset: str, found: Sequence[str], host: str) -> UsageError:
    """Nobody knows whose is meant."""
    return UsageError(
        f"{asset} is saved by {len(found)} hosts, {', '.join(found)}, and this one, {host}, is none"
        " of them",
        hint=f"name one: '{asset}@{found[-1]}'; where this machine stands in the place of one, "
        f"'host: {found[-1]}' in the plan says so",
    )


def _not_after(found: Snapshot, at_ns: int | None) -> Snapshot:
    if at_ns is not None and not serves(found, at_ns):
        raise UsageError(
            f"snapshot {found.short} is newer than the time asked for",
            hint="name the asset instead of a snapshot, or leave out --at",
        )
    return found


def _newest(
    asset: str, found: tuple[Snapshot, ...], at_ns: int | None, catalog: Catalog
) -> Snapshot:
    if not found:
        raise StorageError(
            f"there is no snapshot of {asset} here",
            hint="; ".join(catalog.damaged) or "run 'drctl backup' first, or give --from",
        )
    if at_ns is None:
        return suspects.newest(found)
    before = [s for s in found if serves(s, at_ns)]
    if not before:
        raise UsageError(
            f"no snapshot of {asset} is as old as {show_instant(at_ns)}",
            hint=f"the oldest is of {show_instant(found[0].consistent_at_ns)}; a day alone means "
            "its beginning",
        )
    return suspects.newest(before)
