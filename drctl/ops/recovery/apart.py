"""Whether the places that a recovery restores to get along."""

import os
from collections.abc import Mapping
from itertools import permutations

from drctl.errors import TargetRefused
from drctl.ops.recovery.graph import Graph


def must_get_along(graph: Graph, places: Mapping[str, str]) -> None:
    """A restore clears or sets aside what stands at its place: that is never what another one put
    back. `places`: where each asset is put. Raises TargetRefused before anything is done."""
    steps = {step.asset: step.name for step in graph.steps if step.kind == "restore"}
    real = {asset: os.path.realpath(places[asset]) for asset in steps if asset in places}
    for outer, inner in permutations(real, 2):
        if real[outer] == real[inner]:
            raise TargetRefused(
                f"{outer} and {inner} would both be put at {real[inner]}",
                hint="give each a place of its own with 'to' in its step, or all with --to "
                "DIRECTORY; nothing was begun",
            )
        is_below = real[inner].startswith(real[outer].rstrip("/") + "/")
        if is_below and steps[outer] not in graph.before(steps[inner]):
            raise TargetRefused(
                f"{inner} is put at {real[inner]}, in what {outer} puts back, and may come first",
                hint=f"say 'after: [{steps[outer]}]' in its step, another 'to', or give --to "
                "DIRECTORY; nothing was begun",
            )
