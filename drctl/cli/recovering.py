"""What drill and recover share: the assets on their way back, the objectives, production."""

import json
import os
import shlex
from collections.abc import Iterable, Mapping

from drctl.cli.goals import goal_of
from drctl.cli.reading import Opened
from drctl.engines import engine
from drctl.engines.base import LATEST, Goal, Target
from drctl.engines.s3bucket_place import server_of
from drctl.events import Reporter
from drctl.ops.recovery.isolation import Place as Denied
from drctl.ops.recovery.judge import Tolerated
from drctl.ops.recovery.manifest import NotSaved, counts_due
from drctl.ops.recovery.occupied import Spot
from drctl.ops.recovery.returning import Returning
from drctl.plan import LoadedPlan
from drctl.plan.model import Plan, RepositoryPart, engine_of
from drctl.plan.parameters import fill
from drctl.plan.recovery import DrillObjectives, DrillPart, StepPart
from drctl.plan.tested import source_of
from drctl.units import parse_duration
from drctl.wiring import Wiring

_TREES = ("files",)  # what is counted from the entries themselves


def assets_of(plan: Plan) -> list[str]:
    """The assets that a recovery of this plan restores."""
    steps = plan.recovery.steps
    if not steps:
        return list(plan.assets)
    return [step.restore for step in steps.values() if step.restore]


def restoring(plan: Plan, asset: str) -> StepPart:
    """The step that restores an asset."""
    steps = plan.recovery.steps.values()
    return next((step for step in steps if step.restore == asset), StepPart(restore=asset))


def place_of(loaded: LoadedPlan, asset: str, values: Mapping[str, str]) -> str | None:
    """Where an asset is put: where its step says, else where the plan protects it; None where
    neither tells one place."""
    told = restoring(loaded.plan, asset).to
    if told:
        return os.path.join(loaded.base, fill(told, values))
    _, settings = engine_of(loaded.plan.assets[asset])
    paths = getattr(settings, "paths", None) or [getattr(settings, "path", None)]
    return os.path.join(loaded.base, paths[0]) if len(paths) == 1 and paths[0] else None


def spot_of(plan: Plan, asset: str, to: str) -> Spot:
    """A place for an asset, with what its engine would put beside it."""
    found = engine(engine_of(plan.assets[asset])[0])
    return Spot(to, found.beside, found.moved)


def source_of_drill(wiring: Wiring, part: DrillPart) -> str:
    """The repository that a drill restores from."""
    return source_of(wiring.loaded.plan, part)


def recover_line(loaded: LoadedPlan, *words: str) -> str:
    """The line that recovers everything. Where the plan does not say where an asset is put, all of
    them go below a directory: without it the command is refused."""
    values = loaded.plan.recovery.parameters
    if any(place_of(loaded, asset, values) is None for asset in assets_of(loaded.plan)):
        words = (*words, "--to", os.path.join(loaded.base, "recovered"))
    return shlex.join(["drctl", "recover", *words])


def returning(
    opened: Opened, name: str, to: str, at_ns: int | None, snapshot_name: str = ""
) -> Returning:
    """An asset on its way from a repository to a place, as it was at a time or as new as can be;
    from the snapshot of that name, where one was decided on. Raises StorageError when there is no
    such snapshot."""
    wiring = opened.wiring
    snapshot = opened.pick(snapshot_name or name, at_ns)
    root = opened.root(snapshot)
    goal = goal_of(snapshot, at_ns, None, "latest") if at_ns is not None else LATEST

    def target(_: Reporter) -> Target:
        return opened.target(snapshot, root, to, goal)

    counts = json.loads(root.private_facts.get("counts", "{}"))
    is_replayed = engine(snapshot.engine).has_log and _goes_on(goal)
    not_saved = NotSaved()
    if snapshot.engine in _TREES:
        counts, not_saved = counts_due(opened.reader, root)
    return Returning(
        name=name,
        snapshot=snapshot,
        root=root,
        spot=spot_of(wiring.loaded.plan, name, to),
        existing=restoring(wiring.loaded.plan, name).existing,
        counts_due={} if is_replayed else counts,
        make_target=target,
        make_probe=lambda at: wiring.probe(name, at),
        make_hollow=wiring.hollow(name),
        is_marked=wiring.marker(name) is not None,
        measurable_by=_measurable_by(name, snapshot.engine),
        not_saved=not_saved.tell(),
    )


def _measurable_by(asset: str, kind: str) -> str:
    """What lets a drill tell how fresh an asset of this kind is, where nothing does yet."""
    if engine(kind).marker is not None:
        return f"set 'mark: true' on {asset}"
    return f"add a check {{asset: {asset}, compare: manifest}}"


def _goes_on(goal: Goal) -> bool:
    """Whether a log is replayed beyond what was counted."""
    return goal.kind != "immediate"


def tolerated(plan: Plan, own: DrillObjectives) -> Tolerated:
    """Objectives in seconds: an asset's own, else the drill's, else the plan's."""
    rpo, rto = own.rpo or plan.objectives.rpo, own.rto or plan.objectives.rto
    assets = {name: plan.assets[name] for name in assets_of(plan)}
    return Tolerated(
        _seconds(rto),
        {name: _seconds(asset.rpo or rpo) for name, asset in assets.items()},  # type: ignore[attr-defined]
        {name: _seconds(asset.rto) for name, asset in assets.items()},  # type: ignore[attr-defined]
    )


def _seconds(text: str | None) -> float | None:
    return None if text is None else parse_duration(text)


# -- production -----------------------------------------------------------------------------------


def live_paths(wiring: Wiring) -> dict[str, str]:
    """Where production's data lies on this host, as far as the plan says: name -> path."""
    found: dict[str, str] = {}
    for name, asset in wiring.loaded.plan.assets.items():
        _, settings = engine_of(asset)
        paths = getattr(settings, "paths", None) or [getattr(settings, "path", None)]
        host = getattr(settings, "host", None) or ""
        paths = [*paths, host if host.startswith("/") else None]
        for path in filter(None, paths):
            found[f"{name} {path}"] = os.path.join(wiring.loaded.base, path)
    return found


def denied(wiring: Wiring, sites: Iterable[str]) -> list[Denied]:
    """What a drill's programs must not reach: production's data and servers, and whatever stands
    at a denied site."""
    plan = wiring.loaded.plan
    places = [Denied("path", path, f"asset {name}") for name, path in live_paths(wiring).items()]
    for name, asset in plan.assets.items():
        _, settings = engine_of(asset)
        host, port = getattr(settings, "host", None), getattr(settings, "port", None)
        if host and port and not host.startswith("/"):
            places.append(Denied("address", f"{host}:{port}", f"asset {name}"))
    for name, part in plan.repositories.items():
        if part.site in sites:
            places.append(_repository(wiring, name, part))
    return places


def _repository(wiring: Wiring, name: str, part: RepositoryPart) -> Denied:
    label = f"site {part.site}, repository {name}"
    if part.path is not None:
        return Denied("path", os.path.join(wiring.loaded.base, part.path), label)
    assert part.s3 is not None  # noqa: S101 - the plan's checks saw to it
    host, port = server_of(part.s3)
    return Denied("address", f"{host}:{port}", label)
