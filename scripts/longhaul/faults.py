"""Faulty storage at every call: of a tiny repository, and of one with several packs."""

from collections import Counter

from small_site import random_tree, write_tree
from sweep import Sweep

from longhaul.common import Haul


def run(haul: Haul) -> dict[str, object]:
    """How often each deed ended how."""
    found: dict[str, object] = {}
    for name, size in {"tiny": (6, 600, 0), "several packs": (40, 60_000, 17 << 20)}.items():
        history = haul.history(name, *size)
        third = {**history.trees[history.newest], **random_tree(haul.seed + 2, 9, size[1])}
        write_tree(history.site.live, third)
        sweep = Sweep(history, third, haul.top)
        for deed in sweep.deeds:
            came: Counter[str] = Counter()
            for case in sweep.cases(deed):
                haul.where = f"{name}: {case}"
                came[sweep.run(case)] += 1
            found[f"{name}: {deed}"] = {"cases": sum(came.values()), **came}
    return found
