"""No restore of a recovery takes away what another one put back."""

import pytest

from drctl.errors import TargetRefused
from drctl.ops.recovery.apart import must_get_along
from drctl.ops.recovery.graph import Step, graph

STEPS = [
    Step("out", "restore", asset="outer"),
    Step("out.proof", "prove", after=("out",), asset="outer"),
    Step("in", "restore", after=("out.proof",), asset="inner"),
    Step("other", "restore", asset="loose"),
]


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ({"outer": "a", "inner": "a/b", "loose": "ab"}, ""),
        ({"outer": "link/b", "inner": "a/b", "loose": "c"}, "outer and inner would both be put at"),
        ({"outer": "a/b", "inner": "a", "loose": "c"}, "outer is put at .* in what inner puts"),
        ({"outer": "a", "inner": "b", "loose": "link/c"}, "loose is put at .*/a/c, in what outer"),
    ],
)
def test_places_that_do_not_get_along_are_refused_before_anything_is_done(
    tmp_path, places, told
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    at = {asset: f"{tmp_path}/{place}" for asset, place in places.items()}
    if not told:
        must_get_along(graph(STEPS, "planned"), at)
        return
    with pytest.raises(TargetRefused, match=told):
        must_get_along(graph(STEPS, "planned"), at)
