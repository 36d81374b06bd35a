"""Ctrl-C between any two steps of a backup, at more of them than the test tries."""

import random
import sys

from small_site import Site, random_tree, read_tree, write_tree
from test_interrupted import Stepping, comes_back_after_an_interrupt

from longhaul.common import Haul

_TRIED = 1500


def run(haul: Haul) -> dict[str, object]:
    """How many steps there are, and at how many the run was interrupted."""
    site = Site(haul.top, haul.pool)
    write_tree(site.live, random_tree(haul.seed, 12, 30_000, large_bytes=1_500_000))
    tree = read_tree(site.live)
    with Stepping(sys.maxsize) as whole:
        site.backup(site.new_repository(), "whole")
    chosen = random.Random(haul.seed).sample(range(1, whole.steps), min(_TRIED, whole.steps - 1))
    for at in chosen:
        haul.where = f"step {at}"
        comes_back_after_an_interrupt(site, at, tree)
    return {"steps": whole.steps, "interrupted": len(chosen)}
