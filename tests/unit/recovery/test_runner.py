"""Steps are carried out in order, side by side, again, not for ever, and undone."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from drctl.clock import SystemClock
from drctl.events import Silent
from drctl.ops.recovery.graph import Step, graph
from drctl.ops.recovery.journal import Journal
from drctl.ops.recovery.runner import Control, Outcome, Runner
from drctl.ops.recovery.state import State

Act = Callable[[Control], Outcome]


class Acts:
    """Does what a test says; everything else is done at once."""

    def __init__(self) -> None:
        self.acts: dict[str, Act] = {}
        self.order: list[str] = []
        self.undone: list[str] = []
        self.began = Counter[str]()

    def perform(self, step: Step, control: Control) -> Outcome:
        self.began[step.name] += 1
        outcome = self.acts.get(step.name, lambda _: Outcome(True))(control)
        self.order.append(step.name)
        return outcome

    def undo(self, step: Step, control: Control) -> Outcome:
        self.undone.append(step.name)
        return Outcome(True)


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def run(tmp_path, acts):
    def ran(*steps: Step, resume: bool = False) -> State:
        journal = Journal(str(tmp_path / "run"), SystemClock())
        journal.append("resumed" if resume else "declared", by="Ada")
        with journal.running():
            made = graph(steps, "drill")
            return Runner(made, journal, acts, SystemClock(), Silent(), 0.0).run()

    return ran


def step(name: str, *after: str, **more) -> Step:
    return Step(name, more.pop("kind", "run"), after=after, **more)


def test_each_step_comes_after_what_it_waits_for(run, acts) -> None:
    state = run(step("c", "a", "b"), step("a"), step("b", "a"))
    assert acts.order == ["a", "b", "c"]
    assert state.ending == "done"
    assert state["b"].began_ns >= state["a"].ended_ns


def test_what_does_not_wait_for_each_other_runs_side_by_side(run, acts) -> None:
    both = threading.Barrier(2)
    for name in ("a", "b"):
        acts.acts[name] = lambda _: Outcome(both.wait(20) >= 0)
    assert run(step("a"), step("b")).ending == "done"


def test_a_step_is_tried_again_as_often_as_the_plan_says(run, acts) -> None:
    acts.acts["a"] = lambda _: Outcome(acts.began["a"] > 2, "no luck")
    assert run(step("a", retries=2)).ending == "done"
    assert acts.began["a"] == 3


def test_whoever_resumes_gives_a_step_all_its_retries_again(run, acts) -> None:
    acts.acts["a"] = lambda _: Outcome(acts.began["a"] > 5, "no luck")
    assert run(step("a", retries=2)).ending == "failed"
    state = run(step("a", retries=2), resume=True)
    assert state.ending == "done"
    assert (state["a"].attempts, state["a"].tries) == (6, 3)


def test_a_failure_stops_the_steps_that_follow_and_says_what_it_was(run, acts) -> None:
    acts.acts["a"] = lambda _: Outcome(False, "broke")
    state = run(step("a", retries=1), step("b", "a"))
    assert state.ending == "failed"
    assert (state["a"].status, state["a"].what) == ("failed", "broke")
    assert state["b"].status == "waiting"


def test_a_failure_that_may_be_does_not_stop_the_others(run, acts) -> None:
    acts.acts["a"] = lambda _: Outcome(False, "broke")
    state = run(step("a", on_failure="continue"), step("b", "a"))
    assert state["b"].status == "done"
    assert state.ending == "failed"


def test_what_was_done_is_undone_from_the_last_to_the_first(run, acts) -> None:
    acts.acts["c"] = lambda _: Outcome(False, "broke")
    state = run(
        step("a", undo=("x",)),
        step("b", "a", undo=("x",)),
        step("plain", "b"),
        step("c", "plain", on_failure="undo", undo=("x",)),
    )
    assert acts.undone == ["b", "a"]
    assert [state[n].status for n in ("a", "b", "plain", "c")] == [
        "undone",
        "undone",
        "done",
        "failed",
    ]


def test_a_step_that_hears_ends_at_its_time_limit(run, acts) -> None:
    def wait(control: Control) -> Outcome:
        while not control.over():
            time.sleep(0.01)
        return Outcome(False, control.over())

    acts.acts["a"] = wait
    state = run(step("a", timeout_seconds=0.2))
    assert state["a"].what == "it did not end within 0.2s"


def test_a_bug_fails_its_step_and_not_the_run(run, acts) -> None:
    acts.acts["a"] = lambda _: Outcome(1 / 0 > 0)
    state = run(step("a", on_failure="continue"), step("b"))
    assert "ZeroDivisionError" in state["a"].what
    assert state["b"].status == "done"


def test_an_approval_waits_for_a_person_and_keeps_the_name(run, tmp_path) -> None:
    journal = Journal(str(tmp_path / "run"), SystemClock())

    def answer() -> None:
        while not any(e["event"] == "started" for e in journal.events()):
            time.sleep(0.02)
        journal.append("approved", step="ok", by="Ada Lovelace")

    person = threading.Thread(target=answer)
    person.start()
    state = run(step("ok", kind="approval", words=("oncall",)), step("a", "ok"))
    person.join()
    assert state["ok"].by == "Ada Lovelace"
    assert state["ok"].what == "approved by Ada Lovelace"
    assert state["a"].status == "done"


def test_a_refused_approval_ends_the_run(run, tmp_path) -> None:
    journal = Journal(str(tmp_path / "run"), SystemClock())
    journal.append("refused", step="ok", by="Ada")
    state = run(step("ok", kind="approval", words=("oncall",)), step("a", "ok"))
    assert (state.ending, state["ok"].what) == ("failed", "refused by Ada")


def test_an_approval_that_nobody_gives_ends_at_its_time_limit(run) -> None:
    state = run(step("ok", kind="approval", words=("oncall",), timeout_seconds=0.1))
    assert "did not end within" in state["ok"].what


def test_a_resumed_run_does_not_do_again_what_was_done(run, acts, tmp_path) -> None:
    journal = Journal(str(tmp_path / "run"), SystemClock())
    journal.append("declared")
    for name in ("a", "b"):
        journal.append("started", step=name)
    journal.append("over", step="a", ok=True, what="")
    state = run(step("a"), step("b"), step("c", "a", "b"), resume=True)
    assert acts.order == ["b", "c"]
    assert state.ending == "done"
    assert state["b"].attempts == 2


def test_a_cancelled_run_starts_nothing_more_and_is_undone(run, acts, tmp_path) -> None:
    journal = Journal(str(tmp_path / "run"), SystemClock())

    def cancel(_: Control) -> Outcome:
        journal.append("cancelled", by="Ada")
        return Outcome(True)

    acts.acts["b"] = cancel
    state = run(step("a", undo=("x",)), step("b", "a"), step("c", "b"))
    assert state.ending == "cancelled"
    assert state["c"].attempts == 0
    assert acts.undone == ["a"]


def _approved(journal: Journal, _: Control) -> Outcome:
    journal.append("approved", step="ask", by="Ada")
    return Outcome(True)


def test_what_rests_on_what_was_undone_is_done_again_and_in_order(run, acts, tmp_path) -> None:
    steps = (
        step("tree", kind="restore"),
        step("app", "tree", undo=("x",)),
        step("ask", "app", kind="approval", words=("oncall",)),
        step("well", "ask", kind="check"),
        step("dns", "well", on_failure="undo"),
    )
    acts.acts["app"] = partial(_approved, Journal(str(tmp_path / "run"), SystemClock()))
    acts.acts["dns"] = lambda _: Outcome(False, "no")
    assert run(*steps).ending == "failed"
    assert acts.undone == ["app"]
    del acts.acts["dns"]
    acts.order.clear()
    state = run(*steps, resume=True)
    assert state.ending == "done"
    assert acts.order == ["app", "well", "dns"]  # and the tree stays as it is
    assert (state["ask"].attempts, state["tree"].attempts) == (2, 1)
