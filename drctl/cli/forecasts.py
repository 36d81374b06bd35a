"""A plan's drills as forecasts: what its evidence and its snapshots say of the next recovery."""

from collections.abc import Iterator, Sequence
from typing import Any

from drctl.cli.recovering import assets_of
from drctl.model import Snapshot
from drctl.ops.status import Seen
from drctl.plan.model import Plan
from drctl.report.evidence import Proof
from drctl.report.forecast import Drilled, Forecast, forecast
from drctl.repository.catalog import Catalog
from drctl.units import iso_instant, parse_duration, show_bytes, show_seconds
from drctl.wiring import Wiring

_DAY_NS = 86_400 * 10**9
_MEASURED = {"passed", "missed"}


def forecasts(wiring: Wiring, seen: Sequence[Seen], proofs: Sequence[Proof]) -> dict[str, Forecast]:
    """By drill. Sizes are those of the first repository that answers."""
    plan = wiring.loaded.plan
    found = next((one.found for one in seen if not one.trouble), Catalog((), ()))
    snapshots = [s for name in plan.assets for s in found.line(name, wiring.loaded.host)]
    sizes = list(_sizes(plan, snapshots))
    now = sizes[-1][1] if sizes else 0
    days = [(at_ns / _DAY_NS, float(size)) for at_ns, size in sizes]
    return {
        name: forecast(_drilled(proofs, name), now, days, _rto(plan, name)) for name in plan.drills
    }


def _rto(plan: Plan, drill: str) -> float | None:
    text = plan.drills[drill].objectives.rto or plan.objectives.rto
    return parse_duration(text) if text else None


def _drilled(proofs: Sequence[Proof], drill: str) -> list[Drilled]:
    found = []
    for proof in sorted(proofs, key=lambda p: p.number):
        p = proof.predicate
        timing = p["timing"]
        if p["drill"] == drill and p["verdict"] in _MEASURED and timing["rta_seconds"] is not None:
            size = sum(s["size_bytes"] for s in p["snapshots"])
            found.append(Drilled(size, timing["machine_seconds"], timing["human_seconds"]))
    return found


def _sizes(plan: Plan, snapshots: Sequence[Snapshot]) -> Iterator[tuple[int, int]]:
    """What a recovery would have restored at each snapshot's instant: once every asset has one."""
    newest: dict[str, int] = {}
    wanted = set(assets_of(plan))
    for s in sorted(snapshots, key=lambda s: s.consistent_at_ns):
        if s.asset in wanted and not s.suspect:
            newest[s.asset] = s.size_bytes
            if len(newest) == len(wanted):
                yield s.consistent_at_ns, sum(newest.values())


def forecast_lines(drill: str, f: Forecast, now_ns: int) -> list[str]:
    """Within 80 columns."""
    if f.expected_seconds is None:
        return [f"RTA of {drill}: unknown: {f.why}"]
    assert f.low_seconds is not None  # noqa: S101 - they come together
    assert f.high_seconds is not None  # noqa: S101
    between = f"{show_seconds(f.low_seconds)} to {show_seconds(f.high_seconds)}"
    expected = f"{show_seconds(f.expected_seconds)} expected at {show_bytes(f.size_bytes)}"
    lines = [f"RTA of {drill}: {expected}", f"  nine times of ten {between}, by {f.drills} drills"]
    if f.breaks_in_days is None:
        return [*lines, f"  when growth breaks the RTO: {f.until}"]
    may = f.breaks_in_days if f.may_break_in_days is None else f.may_break_in_days
    dates = f"from {_date(may, now_ns)} on, expected {_date(f.breaks_in_days, now_ns)}"
    return [*lines, f"  growth may break the RTO {dates}"]


def _date(days: float, now_ns: int) -> str:
    return iso_instant(now_ns + round(days * _DAY_NS))[:10]


def forecast_document(drill: str, f: Forecast, now_ns: int) -> dict[str, Any]:
    """Times are seconds; what is not known is null, and `unknown` says why."""
    breaks, may = (
        None if days is None else _date(days, now_ns)
        for days in (f.breaks_in_days, f.may_break_in_days)
    )
    return {
        "drill": drill,
        "drills": f.drills,
        "size_bytes": f.size_bytes,
        "expected_seconds": _rounded(f.expected_seconds),
        "low_seconds": _rounded(f.low_seconds),
        "high_seconds": _rounded(f.high_seconds),
        "rto_seconds": f.rto_seconds,
        "rto_breaks_on": breaks,
        "rto_may_break_on": may,
        "unknown": f.why or f.until,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
