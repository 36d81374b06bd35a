"""Restoring one database out of a cluster: all of it privately, then that one to where it is
wanted."""

from drctl.cli.reading import Opened
from drctl.engines import engine
from drctl.engines.base import Goal
from drctl.errors import TargetRefused, UsageError
from drctl.events import Phase
from drctl.model import Snapshot
from drctl.ops.recovery.box import Box
from drctl.ops.restore import RestoreResult
from drctl.wiring import drill_home


def check(picked: Snapshot, to: str, *, is_partial: bool) -> None:
    """Raises UsageError, TargetRefused."""
    extraction = engine(picked.engine).extraction
    if extraction is None:
        raise UsageError(
            f"the engine {picked.engine} gives no single database: --database is for postgres",
            hint="restore all of it beside, and take out what you need",
        )
    if is_partial:
        raise UsageError("--database restores privately: leave out --path and --delta")
    extraction.check(to)


def restored(opened: Opened, picked: Snapshot, goal: Goal, database: str, to: str) -> RestoreResult:
    """The place where the cluster was is removed, whatever happens."""
    root = opened.root(picked)
    if root.private_facts.get("form") == "dump":
        raise UsageError(
            "this snapshot holds dumps, one of each database",
            hint=f"restore it with --path databases/{database}.dump",
        )
    extraction = engine(picked.engine).extraction
    assert extraction  # noqa: S101 - it was checked
    wiring = opened.wiring
    box = Box(drill_home(wiring), wiring.randomness)
    try:
        at = box.at("target", picked.asset)
        done = opened.restore(picked, root, at, goal)
        if done.problems:
            first = done.problems[0]
            raise TargetRefused(
                f"the cluster did not come back whole: {first.path}: {first.what}",
                hint="try an older snapshot, or another repository with --from",
            )
        wiring.report.emit(Phase(f"starting it privately, and dumping {database} ..."))
        extraction.extract(at, root.private_facts.get("superuser", ""), database, to)
    finally:
        left = box.remove()
    for what in left:
        wiring.warn(what)
    return done
