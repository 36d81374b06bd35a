"""A storage that fails at call n, for every n: nothing committed is lost, nothing wrong given."""

from collections import Counter
from pathlib import Path

import pytest
from small_site import History, random_tree, write_tree
from sweep import Sweep


@pytest.fixture(scope="module")
def sweep(tiny: History, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    third = {**tiny.trees[tiny.newest], **random_tree(5, 5, 700)}
    write_tree(tiny.site.live, third)
    return Sweep(tiny, third, Path(tmp_path_factory.mktemp("sweep")))


@pytest.mark.parametrize("deed", ["backup", "restore", "verify", "replicate from", "replicate to"])
def test_a_fault_at_any_call_costs_no_snapshot_and_gives_no_wrong_byte(sweep, deed) -> None:
    came = Counter(sweep.run(case) for case in sweep.cases(deed))
    assert sum(came.values()) == 12 * sweep.calls(deed) >= 12 * 12
    assert came["done"] < sum(came.values()), "no fault was felt"
