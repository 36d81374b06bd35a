"""What a plan's recovery allows and disaster recovery forbids: each finding with its remedy."""

from collections.abc import Iterator

from drctl.plan.model import Plan, engine_of
from drctl.plan.recovery import Check, Expected, StepPart
from drctl.plan.tree import Path

Told = Iterator[tuple[Path, str]]
_COUNTED = ("files", "s3bucket")  # of those without a marker, what a drill compares unasked


def on_recovery(plan: Plan) -> Told:
    """In no order. A plan that says nothing of recovery is not told about it."""
    if not (plan.recovery.steps or plan.checks or plan.drills):
        return
    yield from _unchecked(plan)
    yield from _steps(plan)
    yield from _drills(plan)


def _looks(plan: Plan) -> list[tuple[Path, Check]]:
    """Every check of the plan with its place."""
    alone: list[tuple[Path, Check]] = [(("checks", n), c) for n, c in enumerate(plan.checks)]
    steps = plan.recovery.steps.items()
    return alone + [
        (("recovery", "steps", name, "check"), step.check) for name, step in steps if step.check
    ]


def _unchecked(plan: Plan) -> Told:
    looks = _looks(plan)
    looked_at = {look.asset for _, look in looks}
    for name in plan.assets:
        if name not in looked_at:
            yield ("assets", name), "no check looks at it: say under 'checks' what must hold of it"
    for path, look in looks:
        if look.sql and look.expect and _passes_zero(look.expect):
            yield path, "an empty table passes it too: 'min' must be above 0"


def _passes_zero(expected: Expected) -> bool:
    """Whether nothing is asked for but a number that may be 0."""
    says_more = (expected.equals, expected.contains) != (None, None)
    return not says_more and not (expected.min is not None and expected.min > 0)


def _steps(plan: Plan) -> Told:
    steps = plan.recovery.steps
    if not steps:
        return
    restored = {step.restore for step in steps.values()}
    for name in plan.assets:
        if name not in restored:
            yield ("assets", name), "no step of 'recovery' brings it back: add one with 'restore'"
    waited_for = {name for step in steps.values() for name in step.after}
    some_restore_is = any(steps[name].restore for name in waited_for)
    path: Path
    for name, step in steps.items():
        if name not in waited_for and _holds(step, some_restore_is):
            path = ("recovery", "steps", name)
            yield path, f"nothing waits for it: let a step that needs it say after: [{name}]"
        path = ("recovery", "steps", name)
        if step.approval and step.when == ("drill",):
            yield path, "nobody is asked in a drill: leave it out, or name another mode"
        elif step.approval and step.timeout is None:
            limit = plan.recovery.defaults.timeout
            yield path, f"without an answer within {limit} it has failed: give it a 'timeout'"


def _holds(step: StepPart, some_restore_is_waited_for: bool) -> bool:
    """Whether a step is there only for others to wait for it."""
    if step.restore:
        return some_restore_is_waited_for
    return step.approval is not None or step.wait is not None


def _drills(plan: Plan) -> Told:
    if not plan.drills:
        yield (
            (("recovery",) if plan.recovery.steps else ("checks",)),
            ("nobody tries it: describe a drill under 'drills'"),
        )
        return
    if plan.evidence.key is None:
        yield ("drills",), "what they find is not signed: name a key with 'evidence: {key: ...}'"
    if plan.objectives.drill_every is None:
        yield ("drills",), "nobody is told when one is overdue: set objectives.drill_every"
    home = _domain(plan, next(n for n, r in plan.repositories.items() if r.copy_of is None))
    elsewhere = any(_domain(plan, name) != home for name in plan.repositories)
    for name, drill in plan.drills.items():
        if drill.source and elsewhere and _domain(plan, drill.source) == home:
            yield (
                ("drills", name, "from"),
                ("it stands where the data is and is lost with it: drill from another site's copy"),
            )
    for name, asset in plan.assets.items():
        settings = engine_of(asset)[1]
        is_streamed = getattr(settings, "stream", False)  # and its stream marks it
        if getattr(settings, "mark", None) is False and not is_streamed:
            yield (
                ("assets", name),
                "no marker: its freshness rests on the snapshot's word alone; set 'mark: true'",
            )
    yield from _unmeasured(plan)


def _unmeasured(plan: Plan) -> Told:
    """Assets of a kind that has no marker, with an objective that no drill can hold them to."""
    compared = {look.asset for _, look in _looks(plan) if look.compare == "manifest"}
    of_drills = any(drill.objectives.rpo for drill in plan.drills.values())
    for name, asset in plan.assets.items():
        kind, settings = engine_of(asset)
        is_measured = hasattr(settings, "mark") or kind in _COUNTED or name in compared
        own = asset.rpo or plan.objectives.rpo or of_drills  # type: ignore[attr-defined]
        if own and not is_measured:
            yield (
                ("assets", name),
                f"no drill can measure its rpo: add a check {{asset: {name}, compare: manifest}}",
            )


def _domain(plan: Plan, repository: str) -> str:
    return plan.sites[plan.repositories[repository].site].failure_domain
