"""Assets captured together: every source reaches its consistent point before any is read.

The sources are opened at the same time, each in a thread of its own, so that one which copies for
a minute does not keep the others' instants a minute apart. Nothing is committed before all have
been read whole: a group is one recovery point, or none.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

from msgspec import Struct
from msgspec.structs import replace

from drctl.engines.base import Capture, NamesPoints, Source
from drctl.errors import SourceError
from drctl.events import Phase
from drctl.model import Snapshot
from drctl.ops.backup import (
    Around,
    Asset,
    BackupResult,
    Start,
    Taken,
    begin,
    settle,
    signed,
    take_in,
)
from drctl.repository.runs import Run, Showing
from drctl.repository.state import StateWriter
from drctl.units import show_seconds

NAME, RUN, ASSETS, SKEW = "group", "group_run", "group_assets", "group_skew_seconds"


class Group(Struct, frozen=True):
    """Which assets belong together, and how far their instants may lie apart."""

    name: str
    run: str  # of this one recovery point; nobody else's
    max_skew_seconds: float | None = None


def backup_group(group: Group, parts: Sequence[tuple[Asset, Around]]) -> list[BackupResult]:
    """One snapshot of each asset, all or none. Raises what `backup` raises; SourceError when the
    instants lie further apart than the group allows."""
    _, first = parts[0]
    first.report.emit(Phase(f"opening the {len(parts)} assets of {group.name}"))
    with signed(first) as (run, _), ExitStack() as stack:
        begun = [begin(around) for _, around in parts]
        states = [stack.enter_context(around.state.replace()) for _, around in parts]
        captures = open_all(stack, [asset.source for asset, _ in parts])
        facts = _facts(group, parts, captures)
        name_points(f"drctl-{group.run}", captures)
        taken = [
            _take_in(asset, around, run, capture, state, start, facts)
            for (asset, around), capture, state, start in zip(
                parts, captures, states, begun, strict=True
            )
        ]
        return [settle(one, run) for one in taken]


def _take_in(
    asset: Asset,
    around: Around,
    run: Run,
    capture: Capture,
    state: StateWriter,
    start: Start,
    facts: dict[str, str],
) -> Taken:
    shown = replace(around, report=Showing(run, around.report))
    shown.report.emit(Phase(f"backing up {asset.name}"))
    return take_in(asset, shown, capture, state, start, facts)


def open_all(stack: ExitStack, sources: Sequence[Source]) -> list[Capture]:
    """Every source open, or none: what was opened is let go of with the stack, also when another
    one failed or somebody interrupts."""
    contexts: list[AbstractContextManager[Capture]] = [source.open() for source in sources]
    opening: list[Future[Capture]] = []
    try:
        with ThreadPoolExecutor(len(contexts), "drctl-open") as pool:
            opening += [pool.submit(context.__enter__) for context in contexts]
    finally:
        for context, future in zip(contexts, opening, strict=False):
            if not future.cancelled() and future.exception() is None:
                stack.push(context)
    return [future.result() for future in opening]


def name_points(name: str, captures: Sequence[Capture]) -> None:
    """In every log that can hold a name."""
    for capture in captures:
        if isinstance(capture, NamesPoints):
            capture.name_point(name)


def _facts(
    group: Group, parts: Sequence[tuple[Asset, Around]], captures: list[Capture]
) -> dict[str, str]:
    """What each manifest says of the group. Raises SourceError when the skew is too large."""
    instants = [capture.consistent_at_ns for capture in captures]
    skew_seconds = (max(instants) - min(instants)) / 1e9
    most = group.max_skew_seconds
    if most is not None and skew_seconds > most:
        last, first = instants.index(max(instants)), instants.index(min(instants))
        raise SourceError(
            f"{group.name}: {parts[last][0].name} is {show_seconds(skew_seconds)} later than "
            f"{parts[first][0].name}, at most {show_seconds(most)} are allowed: no snapshot",
            hint="run it at a quieter time, or raise 'max_skew' if the application can bear it",
        )
    return {
        NAME: group.name,
        RUN: group.run,
        ASSETS: ",".join(asset.name for asset, _ in parts),
        SKEW: f"{skew_seconds:.3f}",
    }


def runs(snapshots: Sequence[Snapshot], name: str) -> list[list[Snapshot]]:
    """The whole recovery points of a group, in the order of the snapshots given. One whose run was
    killed between two commits lacks a snapshot, and is none."""
    found: dict[str, list[Snapshot]] = {}
    for snapshot in snapshots:
        if snapshot.facts.get(NAME) == name:
            found.setdefault(snapshot.facts[RUN], []).append(snapshot)
    whole = [run for run in map(_in_the_plans_order, found.values()) if run]
    place = {s.name: number for number, s in enumerate(snapshots)}
    return sorted(whole, key=lambda run: max(place[s.name] for s in run))


def _in_the_plans_order(run: list[Snapshot]) -> list[Snapshot]:
    """Empty where one is missing."""
    found = {s.asset: s for s in run}
    wanted = run[0].facts[ASSETS].split(",")
    return [found[asset] for asset in wanted] if set(wanted) <= found.keys() else []
