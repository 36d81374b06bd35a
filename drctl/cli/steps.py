"""A plan's recovery as the steps that ops carries out: one translation for every mode."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from drctl.ops.recovery.graph import MODES, Graph, Kind, Mode, Step, graph
from drctl.ops.recovery.look import Expectation, Look
from drctl.plan.model import Plan
from drctl.plan.parameters import fill
from drctl.plan.recovery import LOOKS, Check, Expected, StepPart
from drctl.units import parse_duration

PROOF = ".proof"  # of the step that restores: no step of a plan can have such a name


def steps_of(
    plan: Plan,
    mode: Mode,
    counted: Mapping[str, bool],
    values: Mapping[str, str],
    *,
    asks: bool = True,
) -> Graph:
    """The steps that apply. Behind each restore stands its proof, and whatever waits for the
    restore waits for the proof: nothing goes on with data that nobody has looked at. `counted`:
    the assets that are restored, and whether what they held was counted then. Unless it `asks`,
    approvals are left out."""
    parts = plan.recovery.steps or {name: StepPart(restore=name) for name in plan.assets}
    values = {**plan.recovery.parameters, **values}
    restoring = {name for name, part in parts.items() if part.restore}
    made = []
    for name, part in parts.items():
        after = tuple(f"{n}{PROOF}" if n in restoring else n for n in part.after)
        made.append(_step(plan, name, part, after, values))
        if part.restore:
            made.append(_proof(plan, made[-1], counted.get(part.restore, False), values))
    if not asks:
        others = tuple(m for m in MODES if m != mode)
        made = [replace(s, when=others) if s.kind == "approval" else s for s in made]
    return graph(made, mode)


def _step(
    plan: Plan, name: str, part: StepPart, after: tuple[str, ...], values: Mapping[str, str]
) -> Step:
    defaults = plan.recovery.defaults
    kind, words = _kind(part)
    asks = f"{name} (step)" if name in plan.assets else name  # the asset's own looks are called so
    return Step(
        name=name,
        kind=kind,
        after=after,
        asset=part.restore or "",
        words=tuple(fill(word, values) for word in words),
        looks=(look_of(asks, part.check, values),) if part.check else (),
        env=part.env,
        undo=tuple(fill(word, values) for word in part.undo or ()),
        when=part.when,
        timeout_seconds=_limit_seconds(part, defaults.timeout),
        retries=defaults.retries if part.retries is None else part.retries,
        on_failure=part.on_failure,
    )


def _limit_seconds(part: StepPart, default: str) -> float:
    """A wait ends by itself: it is never too long for the time that steps are given."""
    own = parse_duration(part.timeout or default)
    return own + parse_duration(part.wait) if part.wait else own


def _kind(part: StepPart) -> tuple[Kind, tuple[str, ...]]:
    if part.restore:
        return "restore", ()
    if part.run:
        return "run", part.run
    if part.check:
        return "check", ()
    if part.approval:
        return "approval", (part.approval,)
    if part.wait:
        return "wait", (f"{parse_duration(part.wait):g}",)
    return "notify", (part.notify or "",)


def _proof(plan: Plan, restore: Step, is_counted: bool, values: Mapping[str, str]) -> Step:
    """The plan's checks of an asset; its engine's own, and the counts, whether it has them or
    not."""
    asset = restore.asset
    own = [check for check in plan.checks if check.asset == asset]
    looks = [look_of(f"{asset} {n}", check, values) for n, check in enumerate(own, 1)]
    if not any(look.kind == "integrity" for look in looks):
        looks.insert(0, Look(f"{asset}: integrity", "integrity", asset, "full"))
    if is_counted and not any(look.kind == "counts" for look in looks):
        looks.append(Look(f"{asset}: counts", "counts", asset, "counts"))
    return Step(
        name=f"{restore.name}{PROOF}",
        kind="prove",
        after=(restore.name,),
        asset=asset,
        looks=tuple(looks),
        env=restore.env,
        when=restore.when,
        timeout_seconds=restore.timeout_seconds,
        on_failure=restore.on_failure,
    )


def look_of(name: str, check: Check, values: Mapping[str, str]) -> Look:
    """A check of the plan. `name` begins the name that people read."""
    kind: Any = next(key for key in LOOKS if getattr(check, key))
    value = getattr(check, kind)
    words = tuple(fill(word, values) for word in value) if kind == "command" else ()
    what = " ".join(words) or fill(value, values)
    if value == "counts":
        kind = "counts"
    return Look(f"{name}: {kind}", kind, check.asset or "", what, words, _expect(check.expect))


def _expect(expected: Expected | None) -> Expectation | None:
    if expected is None:
        return None
    return Expectation(expected.equals, expected.min, expected.max, expected.contains)
