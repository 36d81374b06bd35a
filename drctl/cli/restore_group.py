"""Restoring a group: all of its assets, from one recovery point."""

import os

from drctl.cli.reading import Opened
from drctl.engines import engine
from drctl.engines.base import Goal
from drctl.errors import StorageError, TargetRefused, UsageError
from drctl.model import Snapshot
from drctl.ops.group import NAME, runs
from drctl.ops.restore import RestoreResult
from drctl.repository import catalog, lines
from drctl.repository.catalog import of_several
from drctl.units import show_instant


def is_group(opened: Opened, name: str) -> bool:
    """Whether a name means a group: of the plan, or of the snapshots where the plan has changed."""
    plan, name = opened.wiring.loaded.plan, name.partition("@")[0]
    told = {s.facts.get(NAME) for s in opened.found.snapshots}
    return name in plan.groups or (name in told and name not in plan.assets)


def refuse(is_partial: bool) -> None:
    """Raises UsageError."""
    if is_partial:
        raise UsageError(
            "a group comes back whole, at its own instant: --until, --timeline, --delta and --path "
            "are for one asset",
            hint="'drctl snapshots GROUP' lists its snapshots; restore one of them by its name",
        )


def restored(
    opened: Opened, name: str, to: str, at_ns: int | None
) -> list[tuple[RestoreResult, str]]:
    """Each asset's result and place; all are of one instant, as nearly as can be."""
    picked = _pick(opened, name, at_ns)
    if os.path.isdir(to) and os.listdir(to):
        raise TargetRefused(
            f"{to} is not empty: nothing was restored",
            hint="name a directory that is empty, or does not exist yet; what a restore left that "
            "was interrupted is not whole and can be removed",
        )
    done = []
    for snapshot in picked:
        place = os.path.join(to, snapshot.asset, "")
        base, goal = _way_to(opened, snapshot)
        done.append((opened.restore(base, opened.root(base), place, goal), place))
    return done


def _of_host(found: list[list[Snapshot]], name: str, host: str) -> list[list[Snapshot]]:
    """The recovery points that a host goes on with. Raises UsageError where nobody knows whose."""
    firsts = [run[0] for run in found]
    line = {s.name for s in lines.line(firsts, host)}
    if found and not line:
        raise of_several(name, lines.hosts(firsts), host)
    return [run for run in found if run[0].name in line]


def _way_to(opened: Opened, snapshot: Snapshot) -> tuple[Snapshot, Goal]:
    """A log is replayed no further than the snapshot needs. One that ends after the group's instant
    is not it: where the log holds the instant's name, an earlier base leads there."""
    if not engine(snapshot.engine).has_log:
        return snapshot, Goal()
    own = snapshot, Goal("immediate")
    if catalog.usable_from(snapshot) == snapshot.consistent_at_ns:
        return own
    goal = Goal("name", snapshot.facts.get("point", ""))
    _, *earlier = catalog.before(opened.found, snapshot)
    if goal.value and (base := opened.leading(earlier, goal)):
        return base, goal
    opened.wiring.warn(
        f"{snapshot.asset}: no earlier snapshot's log leads to the group's instant: it comes back "
        "as of the end of its own base, after the others"
    )
    return own


def _pick(opened: Opened, name: str, at_ns: int | None) -> list[Snapshot]:
    name, _, host = name.partition("@")
    found = _of_host(runs(opened.found.snapshots, name), name, host or opened.host)
    if not found:
        raise StorageError(
            f"there is no whole recovery point of {name} here",
            hint=f"run 'drctl backup {name}' first, or give --from",
        )
    if at_ns is None:
        return _last_good(opened, name, found)
    before = [run for run in found if all(catalog.usable_from(s) <= at_ns for s in run)]
    if not before:
        oldest = show_instant(max(s.consistent_at_ns for s in found[0]))
        raise UsageError(
            f"no recovery point of {name} is as old as the time asked for",
            hint=f"the oldest is of {oldest}",
        )
    return _last_good(opened, name, before)


def _last_good(opened: Opened, name: str, found: list[list[Snapshot]]) -> list[Snapshot]:
    """The last of which no part is suspect; else the last."""
    good = [run for run in found if not any(s.suspect for s in run)]
    picked, last = (good or found)[-1], found[-1]
    odd = next((s for s in last if s.suspect), None)
    if odd:
        at = show_instant(max(s.consistent_at_ns for s in picked))
        taken = f"the last good one, of {at}, is taken" if good else "there is no good one"
        opened.wiring.warn(
            f"{name}: the newest recovery point is SUSPECT: {odd.asset}, {odd.short}: "
            f"{odd.suspect}; {taken}; any part of another is had by its id"
        )
    return picked
