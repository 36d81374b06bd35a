"""What a real recovery leaves: the same evidence as a drill, in the same chain."""

from collections.abc import Mapping
from typing import Any, cast

from drctl.cli.findings import document_of, keep_document
from drctl.cli.recovering import tolerated
from drctl.errors import DrctlError
from drctl.events import Notice
from drctl.ops.drill import DrillResult, Order
from drctl.ops.recovery import judge
from drctl.ops.recovery.graph import Graph, Mode
from drctl.ops.recovery.isolation import Isolation
from drctl.ops.recovery.returning import Returning
from drctl.ops.recovery.runs import Run
from drctl.ops.recovery.state import State
from drctl.ops.recovery.timing import timing
from drctl.plan.recovery import DrillObjectives
from drctl.wiring import Wiring


def keep_recovery(
    wiring: Wiring, run: Run, graph: Graph, state: State, assets: Mapping[str, Returning]
) -> None:
    """A recovery that cannot be proven afterwards is one nevertheless: what hinders is told."""
    document: dict[str, Any] = document_of(wiring, _result(wiring, run, graph, state, assets))
    document["isolation"] = None  # it was done to the real thing
    try:
        keep_document(wiring, document, None)
    except DrctlError as error:
        what = f"no evidence of this recovery is kept: {error.what}"
        wiring.report.emit(Notice("warning", f"{what} ({error.hint})" if error.hint else what))


def _result(
    wiring: Wiring, run: Run, graph: Graph, state: State, assets: Mapping[str, Returning]
) -> DrillResult:
    order = _order(wiring, run, graph)
    times = timing(graph, state)
    judgements = (
        *judge.rpa(assets.values(), graph, state, order.incident_ns, order.tolerated),
        *judge.rta(graph, state, times, order.tolerated),
    )
    against = judge.shortfalls(graph, state, assets)
    found, reasons = judge.verdict(state, judgements, (), against)
    undone = {
        name: "" if step.status == "undone" else step.what
        for name, step in state.steps.items()
        if step.status in {"undone", "stuck"}
    }
    now_ns = wiring.clock.now_ns()
    isolation = Isolation(why_not="it was no drill")
    return DrillResult(
        order, assets, state, times, isolation, (), judgements, found, reasons, undone, now_ns
    )


def _order(wiring: Wiring, run: Run, graph: Graph) -> Order:
    """No drill of a plan is called as this is."""
    plan, order = wiring.loaded.plan, run.order
    at_ns = order["at_ns"]
    return Order(
        f"({order['mode']})",
        order["repository"],
        order["where"],
        plan.repositories[order["repository"]].site,
        "as of a time" if at_ns else "the newest",
        0,
        order["declared_ns"],
        at_ns or order["declared_ns"],
        graph,
        tolerated(plan, DrillObjectives()),
        needs_isolation=False,
        undoes=False,
        mode=cast(Mode, order["mode"]),
    )
