"""Which steps there are in a mode, and what each waits for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drctl.circles import find_circle
from drctl.ops.recovery.graph import MODES, Step, graph


def step(name: str, *after: str, when: tuple = ()) -> Step:
    return Step(name, "run", after=after, when=when)


def test_steps_of_other_modes_are_left_out_and_what_they_waited_for_stays() -> None:
    steps = [
        step("fence", when=("failover",)),
        step("orders", "fence"),
        step("hold", "orders", when=("planned", "failover")),
        step("app", "hold"),
    ]
    drill = graph(steps, "drill")
    assert drill.names == ("orders", "app")
    assert drill["app"].after == ("orders",)
    assert drill["orders"].after == ()
    assert drill.left_out == ("fence", "hold")
    assert graph(steps, "failover").names == ("fence", "orders", "hold", "app")


def test_a_step_may_stand_before_what_it_waits_for() -> None:
    assert graph([step("b", "a"), step("a")], "drill").names == ("a", "b")


def test_a_circle_is_named_with_its_path() -> None:
    with pytest.raises(ValueError, match="a -> b -> c -> a"):
        graph([step("a", "b"), step("b", "c"), step("c", "a")], "drill")
    assert find_circle({"a": ("a",)}) == ("a", "a")
    assert find_circle({"a": ("b", "nobody"), "b": ()}) == ()


@given(st.data())
def test_whatever_the_graph_each_step_stands_behind_what_it_waits_for(data) -> None:
    count = data.draw(st.integers(1, 8))
    modes = st.sets(st.sampled_from(MODES)).map(tuple)
    steps = []
    for number in range(count):
        after = data.draw(st.sets(st.integers(0, number - 1))) if number else set()
        steps.append(step(f"s{number}", *(f"s{i}" for i in after), when=data.draw(modes)))
    shuffled = data.draw(st.permutations(steps))
    for mode in MODES:
        made = graph(shuffled, mode)
        assert sorted((*made.names, *made.left_out)) == sorted(s.name for s in steps)
        for place, found in enumerate(made.steps):
            assert set(found.after) <= set(made.names[:place])
