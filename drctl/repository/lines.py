"""Whose snapshots go on with whose, where several hosts save under one asset's name.

While hosts only follow each other, each moved from the one before it: a machine was replaced, and
the new one goes on with what the old one left. A host that saves again after another began has not
moved: then they are different things of one name, and each goes on with its own.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from drctl.model import Snapshot


def line(of_asset: Sequence[Snapshot], host: str) -> tuple[Snapshot, ...]:
    """The snapshots that a host goes on with: its own, and those of the hosts that it took over
    from. `of_asset`: of one asset, oldest first. Nothing where it has none, and several hosts
    save: nobody knows in whose place it stands."""
    first = next((n for n, s in enumerate(of_asset) if s.host == host), len(of_asset))
    before, after = of_asset[:first], of_asset[first:]
    own = tuple(s for s in after if s.host == host)
    left = {s.host for s in before}
    if _only_follow(before) and not any(s.host in left for s in after):
        return (*before, *own)
    return own


def newest(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """The last of each line of each asset that no other host took over. `snapshots`: oldest
    first."""
    by_asset: dict[str, list[Snapshot]] = {}
    for snapshot in snapshots:
        by_asset.setdefault(snapshot.asset, []).append(snapshot)
    found = []
    for of_asset in by_asset.values():
        if _only_follow(of_asset):
            found.append(of_asset[-1])
        else:
            found += {s.host: s for s in of_asset}.values()
    return found


def hosts(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    """The hosts, in the order in which they began."""
    return tuple(dict.fromkeys(s.host for s in snapshots))


def _only_follow(snapshots: Sequence[Snapshot]) -> bool:
    """Whether each host's snapshots stand together."""
    runs = [host for host, _ in groupby(snapshots, lambda s: s.host)]
    return len(runs) == len(set(runs))
