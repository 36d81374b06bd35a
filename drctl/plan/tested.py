"""What of a plan a drill's verdict rests on: another drill is needed where that has changed."""

import json
from hashlib import sha256
from typing import Any

from pydantic import BaseModel

from drctl.plan.model import Plan
from drctl.plan.recovery import DrillPart


def tested(plan: Plan, drill: str) -> str:
    """SHA-256 of the checks, objectives and steps that one drill is judged by, and of which assets
    there are. What is not said does not count, so that a later drctl with more to say of a plan
    finds the same: where a drill without `from` restores from, its evidence names."""
    own = plan.drills.get(drill)
    found: dict[str, Any] = {
        "objectives": _said(plan.objectives),
        "checks": [_said(check) for check in plan.checks],
        "recovery": _said(plan.recovery),
        "drill": _said(own) if own else None,
        "assets": {name: _objectives(asset) for name, asset in plan.assets.items()},
    }
    return sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def source_of(plan: Plan, drill: DrillPart) -> str:
    """The repository of a drill; else the first copy elsewhere, else the first copy, else the one
    that is written to."""
    if drill.source:
        return drill.source
    first = next(name for name, part in plan.repositories.items() if part.copy_of is None)
    others = [name for name in plan.repositories if name != first]
    away = [name for name in others if _domain(plan, name) != _domain(plan, first)]
    return next(iter([*away, *others]), first)


def _domain(plan: Plan, repository: str) -> str:
    return plan.sites[plan.repositories[repository].site].failure_domain


def _said(part: BaseModel) -> Any:
    return part.model_dump(mode="json", exclude_defaults=True)


def _objectives(asset: BaseModel) -> Any:
    return asset.model_dump(mode="json", include={"rpo", "rto"}, exclude_none=True)
