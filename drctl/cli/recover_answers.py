"""What people say to a recovery from other terminals, and whether it changes anything."""

from typing import Any, cast

from drctl.cli.context import Context
from drctl.cli.steps import steps_of
from drctl.errors import ExitCode, UsageError
from drctl.ops.recovery import runs
from drctl.ops.recovery.graph import Graph, Mode
from drctl.ops.recovery.runs import Run
from drctl.ops.recovery.state import State, StepState, replay, why_final
from drctl.units import show_instant
from drctl.wiring import Wiring

NOBODY = "nobody carries it out now: 'drctl recover --resume' goes on"
_STOP = "to stop the recovery: drctl recover --cancel --by NAME"


def told(run: Run) -> str:
    """Which run is meant."""
    declared = show_instant(run.order["declared_ns"])
    return f"the recovery ({run.order['mode']}) declared {declared} (run {run.name})"


def graph_of(wiring: Wiring, order: runs.Order, counted: dict[str, bool] | None = None) -> Graph:
    """The steps of what was decided; `counted`: the assets whose contents can be counted."""
    plan = wiring.loaded.plan
    return steps_of(plan, cast(Mode, order["mode"]), counted or {}, order["parameters"])


def state_of(wiring: Wiring, run: Run) -> State:
    """Where a run stands now."""
    return replay(graph_of(wiring, run.order), run.journal.events())


def answer(context: Context, wiring: Wiring, run: Run, given: dict[str, Any]) -> int:
    """Write down what somebody says. Raises UsageError where it changes nothing: whoever refuses
    believes that it was stopped."""
    who = given["by"]
    if not who:
        raise UsageError("who says so?", hint="give your name with --by; it is recorded")
    step = given["approve"] or given["refuse"]
    before = state_of(wiring, run)
    if run.has_ended and (step or why_final(before)):
        raise UsageError(f"{told(run)} has ended", hint="see it with --watch")
    if step:
        document, text = _agreed(wiring, run, step, who, agrees=bool(given["approve"]))
    else:
        document, text = _cancelled(wiring, run, who)
    context.result(document, text)
    return ExitCode.DONE


def _agreed(
    wiring: Wiring, run: Run, step: str, who: str, *, agrees: bool
) -> tuple[dict[str, Any], str]:
    asked = [s.name for s in graph_of(wiring, run.order).steps if s.kind == "approval"]
    if step not in asked:
        listed = ", ".join(asked) or "none"
        raise UsageError(f"no step '{step}' waits for an approval", hint=f"such are: {listed}")
    before = state_of(wiring, run)
    _refuse_without_effect(run, step, before, agrees=agrees)
    if not before[step].by:
        run.journal.append("approved" if agrees else "refused", step=step, by=who)
    after = state_of(wiring, run)  # another may have answered meanwhile, or its time was over
    _refuse_without_effect(run, step, after, agrees=agrees)
    at = after[step]
    document = {"run": run.name, "step": step, _word(at): True, "by": at.by}
    text = f"{step}: {_word(at)} by {at.by}, in {told(run)}"
    unattended = "" if run.journal.is_running() else f"; {NOBODY}"
    return document, text + _beside(before[step], at, who) + unattended


def _word(at: StepState) -> str:
    return "approved" if at.is_approved else "refused"


def _beside(before: StepState, at: StepState, who: str) -> str:
    """What a person who answers may not expect."""
    if before.by or at.by != who:
        return "; that was said before" + ("" if at.by == who else f", and {who} is not recorded")
    early = before.status == "waiting" and not before.attempts
    return "; it was not asked for yet: that counts when its turn comes" if early else ""


def _refuse_without_effect(run: Run, step: str, state: State, *, agrees: bool) -> None:
    at = state[step]
    if state.cancelled_by:
        raise UsageError(
            f"{told(run)} was cancelled by {state.cancelled_by}: no answer changes that",
            hint="see it with --watch",
        )
    if at.by and at.is_approved != agrees:
        raise UsageError(
            f"{step}: {_word(at)} by {at.by} already, in {told(run)}: the first answer counts, "
            "and yours changes nothing",
            hint=_STOP if at.is_approved else "'drctl recover --resume' asks again once it ended",
        )
    if not at.by and at.status in {"done", "failed"}:
        raise UsageError(
            f"{step}: nobody waits for an answer any more: {at.what}; yours changes nothing",
            hint="see how it stands with --watch",
        )


def _cancelled(wiring: Wiring, run: Run, who: str) -> tuple[dict[str, Any], str]:
    run.journal.append("cancelled", by=who)
    state = state_of(wiring, run)
    if state.ending == "done":
        raise UsageError(f"{told(run)} has ended: it was not cancelled", hint="see it with --watch")
    undoes = "; 'drctl recover --resume' undoes the steps that say how; what was restored stays"
    hint = "" if run.journal.is_running() else undoes
    by = state.cancelled_by
    return {"run": run.name, "cancelled_by": by}, f"{told(run)}: cancelled by {by}{hint}"
