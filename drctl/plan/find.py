"""Where the plan is looked for."""

import os
from collections.abc import Mapping

from drctl.errors import NoPlan

HERE = "drctl.yaml"
SYSTEM = "/etc/drctl/plan.yaml"


def find(explicit: str | None, environ: Mapping[str, str]) -> str:
    """`--plan`, DRCTL_PLAN, ./drctl.yaml, /etc/drctl/plan.yaml. Raises NoPlan when none of
    them is there; what was named is not looked at."""
    named = explicit or environ.get("DRCTL_PLAN")
    if named:
        return named
    for path in (HERE, SYSTEM):
        if os.path.exists(path):
            return path
    raise NoPlan(
        f"no plan: neither ./{HERE} nor {SYSTEM} is there",
        hint="name it with --plan or DRCTL_PLAN, or make one with 'drctl --plan FILE init'",
    )
