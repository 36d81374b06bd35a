"""How assets and copies stand, for whoever asks: a person, or a collector of numbers."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from msgspec import Struct

from drctl.ops.status import Lag, Seen, Standing, lags, look, standings
from drctl.units import iso_instant, parse_duration
from drctl.wiring import Wiring


class Stand(Struct, frozen=True):
    """What the repositories tell."""

    seen: list[Seen]
    standings: list[Standing]
    lags: list[Lag]


def stand(wiring: Wiring, pool: ThreadPoolExecutor) -> Stand:
    """Ask every repository. Raises KeyUnavailable."""
    plan = wiring.loaded.plan
    wiring.credential()  # without it nothing can be told: that is no repository's fault
    seen = [
        look(name, part.copy_of, partial(wiring.as_writer, name), pool)
        for name, part in plan.repositories.items()
    ]
    now_ns = wiring.clock.now_ns()
    told = standings(_objectives(wiring), seen, now_ns, wiring.loaded.host)
    rules = {name: wiring.rule(name) for name in plan.repositories}
    return Stand(seen, told, lags(seen, told, rules, wiring.primary(), pool, now_ns))


def _objectives(wiring: Wiring) -> dict[str, float | None]:
    plan = wiring.loaded.plan
    own = {name: getattr(part, "rpo") for name, part in plan.assets.items()}  # noqa: B009 - made
    texts = {name: rpo or plan.objectives.rpo for name, rpo in own.items()}
    return {name: parse_duration(text) if text else None for name, text in texts.items()}


def stand_document(found: Stand) -> dict[str, Any]:
    """The same for programs."""
    return {
        "assets": [_standing(s) for s in found.standings],
        "repositories": [
            {"repository": o.name, "trouble": o.trouble, "damaged": [*o.found.damaged, *o.wrong]}
            for o in found.seen
        ],
        "copies": [_lag(lag) for lag in found.lags],
    }


def _standing(s: Standing) -> dict[str, Any]:
    return {
        "asset": s.asset,
        "repository": s.repository,
        "verdict": s.verdict,
        "why": s.why,
        "recovery_point": None if s.point_ns is None else iso_instant(s.point_ns),
        "by": s.by,
        "gap": s.gap,
        "age_seconds": rounded(s.age_seconds),
        "rpo_seconds": s.rpo_seconds,
        "newest_snapshot": s.newest.name if s.newest else None,
        "newest_host": s.newest.host if s.newest else None,
        "other_hosts": list(s.others),
        "suspect_snapshots": [{"id": one.name, "why": one.suspect} for one in s.suspects],
    }


def _lag(lag: Lag) -> dict[str, Any]:
    return {
        "repository": lag.repository,
        "original": lag.original,
        "lag_seconds": rounded(lag.seconds),
        "lag_objects": lag.objects,
        "lag_bytes": lag.size_bytes,
    }


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
