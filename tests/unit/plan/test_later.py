"""What this version does not do yet is refused in a sentence, never passed over."""

import pytest

from drctl.plan.later import NOT_YET

TOP = ["notify", "metrics"]


@pytest.mark.parametrize("key", TOP)
def test_a_part_that_comes_later_is_refused(mistakes, good, key) -> None:
    told = mistakes(f"{good}{key}: {{anything: at all}}\n")
    assert len(told) == 1
    assert told[0].startswith(f"14:1: {key}: ")
    assert told[0].endswith(f"not in this version of drctl yet: remove '{key}'")


def test_a_key_of_the_same_name_elsewhere_is_only_unknown(mistakes, one_asset) -> None:
    told = mistakes(one_asset("files: {paths: [x], lock: true}"))
    assert len(told) == 1
    assert "unknown key 'lock'" in told[0]


def test_a_thing_may_be_called_like_a_part_that_comes_later(mistakes, good) -> None:
    assert mistakes(good.replace("tree:", "metrics:").replace("local:", "lock:", 1)) != []
    assert mistakes(good.replace("  tree:", "  metrics:")) == []


def test_every_key_that_comes_later_is_tried_here() -> None:
    tried = {key[-1] for key in NOT_YET}
    assert tried == set(TOP)
