"""Which repository has the newest of what is wanted, where nobody named one: the first that answers
may have been away for weeks."""

from collections.abc import Sequence

from msgspec import Struct

from drctl.cli.apart import ATTEMPTS, PATIENCE_SECONDS, answers
from drctl.errors import DrctlError
from drctl.events import Notice
from drctl.model import Snapshot
from drctl.repository import catalog, names
from drctl.repository.catalog import Catalog
from drctl.repository.repository import Repository
from drctl.repository.retention import CLOCKS_DIFFER_NS
from drctl.storage.retry import Retry
from drctl.units import show_instant
from drctl.wiring import Wiring


class Sought(Struct, frozen=True):
    """What is to be read: assets, groups or snapshots as they were typed, and as of when."""

    typed: Sequence[str]
    at_ns: int | None = None

    def of(self, wiring: Wiring, found: Catalog) -> dict[str, Snapshot]:
        """What of it there is among these."""
        plan, picked = wiring.loaded.plan, {}
        for asset in self._assets(wiring):
            try:
                known = tuple(plan.assets)
                picked[asset] = catalog.pick(found, asset, self.at_ns, known, wiring.loaded.host)
            except DrctlError:
                continue  # there is none: whoever then reads is told so
        return picked

    def since_ns(self, wiring: Wiring, own: dict[str, Snapshot]) -> int:
        """Nothing that was stored before this instant is newer than what was found."""
        if len(own) < len(set(self._assets(wiring))):
            return 0
        return min((s.consistent_at_ns for s in own.values()), default=0) - CLOCKS_DIFFER_NS

    def _assets(self, wiring: Wiring) -> list[str]:
        groups, assets = wiring.loaded.plan.groups, []
        for text in self.typed:
            name, at, host = text.partition("@")
            inside = groups[name].assets if name in groups else [name]
            assets += [f"{asset}{at}{host}" for asset in inside]
        return assets


class Told(Struct, frozen=True):
    """What one repository has: every snapshot's name, and of those that are compared all."""

    name: str
    listed: frozenset[str]
    found: Catalog


class Known(Struct, frozen=True):
    """The repository that is open: the others are compared with it."""

    name: str
    repository: Repository
    found: Catalog


def having_newest(
    wiring: Wiring,
    known: Known,
    others: Sequence[str],
    sought: Sought,
    patience_seconds: float = PATIENCE_SECONDS,
) -> str:
    """The repository that has the newest of most of it: the known one, unless another has more.
    What is read instead, what is newer elsewhere, and who could not be asked is told."""
    own = sought.of(wiring, known.found)
    listed = frozenset(s.name for s in known.found.snapshots)
    told = [Told(known.name, listed, known.found)]
    told += _answers(wiring, known, others, sought.since_ns(wiring, own), patience_seconds)
    merged = known.found
    for other in told[1:]:
        merged = merged.with_removed(other.found)
    newest = sought.of(wiring, merged)
    best = max(told, key=lambda t: sum(s.name in t.listed for s in newest.values()))
    for asset, picked in newest.items():
        _tell(wiring, asset, picked, own.get(asset), told, best)
    return best.name


def _answers(
    wiring: Wiring, known: Known, others: Sequence[str], since_ns: int, patience_seconds: float
) -> list[Told]:
    given = answers(
        wiring.clock, others, lambda name: _ask(wiring, known, name, since_ns), patience_seconds
    )
    for name, answer in given.items():
        if isinstance(answer, DrctlError):
            text = f"{name} was not compared, and may have newer snapshots: {answer.what}"
            wiring.report.emit(Notice("info", text))
    return [answer for answer in given.values() if isinstance(answer, Told)]


def _ask(wiring: Wiring, known: Known, name: str, since_ns: int) -> Told:
    """Only what may be newer is read. Raises StorageError, KeyUnavailable."""
    storage = Retry(wiring.bare_storage(name), wiring.clock, attempts=ATTEMPTS)
    infos = [info for info in storage.list(names.SNAPSHOTS) if names.is_id(info.name)]
    mine = {s.name for s in known.found.snapshots}
    new = [i for i in infos if i.modified_ns >= since_ns and names.digest_of(i.name) not in mine]
    own = known.repository
    opened = Repository(storage, own.secrets, own.recipients, wiring.randomness)
    listed = frozenset(names.digest_of(info.name) for info in infos)
    return Told(name, listed, catalog.load_listed(opened, new))


def _tell(
    wiring: Wiring,
    asset: str,
    picked: Snapshot,
    own: Snapshot | None,
    told: Sequence[Told],
    best: Told,
) -> None:
    has_it = next(t.name for t in told if picked.name in t.listed)
    newer = f"{picked.short} of {show_instant(picked.consistent_at_ns)}"
    if picked.name not in best.listed:
        wiring.warn(
            f"{asset}: {has_it} has a newer snapshot than {best.name}, {newer}: --from {has_it}"
        )
    elif picked != own:
        behind = f"is of {show_instant(own.consistent_at_ns)}" if own else "is none"
        wiring.warn(f"{asset}: {best.name} is read, {newer}: what {told[0].name} has {behind}")
