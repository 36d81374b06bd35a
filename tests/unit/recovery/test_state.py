"""A run under any order of starts, ends, crashes, resumes, approvals and cancellations."""

import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drctl.clock import SystemClock
from drctl.errors import IntegrityError, StorageError
from drctl.ops.recovery.graph import Graph, Step, graph
from drctl.ops.recovery.journal import Journal
from drctl.ops.recovery.state import State, moves, replay, why_final

NAMES = [f"s{i}" for i in range(6)]


class Time:
    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        self.ns += 1
        return self.ns


@st.composite
def graphs(draw) -> Graph:
    steps = []
    for number, name in enumerate(NAMES[: draw(st.integers(1, len(NAMES)))]):
        after = draw(st.sets(st.sampled_from(NAMES[:number]))) if number else set()
        kind = draw(st.sampled_from(["run", "restore", "approval"]))
        steps.append(
            Step(
                name,
                kind,
                after=tuple(sorted(after)),
                undo=("undo",) if kind == "run" and draw(st.booleans()) else (),
                retries=draw(st.integers(0, 2)),
                on_failure=draw(st.sampled_from(["stop", "continue", "undo"])),
            )
        )
    return graph(steps, "drill")


class Run(RuleBasedStateMachine):
    """The journal is a real file; the machine plays the runner, the people and the crashes."""

    @initialize(made=graphs())
    def begin(self, made: Graph) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.graph = made
        self.journal = Journal(self.folder.name, Time())
        self.journal.append("declared")
        self.alive = True
        self.done_once: set[str] = set()
        self.cancelled_at: int | None = None

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def state(self) -> State:
        return replay(self.graph, self.journal.events())

    def running(self) -> list[str]:
        return [n for n, s in self.state().steps.items() if s.status == "running"]

    @precondition(lambda self: self.alive)
    @rule()
    def the_runner_moves(self) -> None:
        before = self.state()
        found = moves(self.graph, before)
        for name in found.start:
            assert before[name].status == "waiting"
            for other in self.graph[name].after:
                goes_on = self.graph[other].on_failure == "continue"
                assert before[other].status == "done" or (
                    before[other].status == "failed" and goes_on
                )
            assert not before.cancelled_by
            self.journal.append("started", step=name)
        if found.undo:
            assert self.graph[found.undo].undo
            assert not self.running()
            self.journal.append("undoing", step=found.undo)
        if found.ending and not before.ending:
            self.journal.append("ended", ending=found.ending)

    @precondition(lambda self: self.alive and self.running())
    @rule(data=st.data(), ok=st.booleans())
    def a_step_ends(self, data, ok: bool) -> None:
        name = data.draw(st.sampled_from(self.running()))
        at = self.state()[name]
        if self.graph[name].kind == "approval":
            if not at.by:
                return  # nobody but a person ends it
            ok = at.is_approved
        if not ok and at.tries <= self.graph[name].retries:
            self.journal.append("tried", step=name, what="no")
        else:
            self.journal.append("over", step=name, ok=ok, what="so")

    @precondition(lambda self: self.alive)
    @rule(ok=st.booleans())
    def an_undo_ends(self, ok: bool) -> None:
        for name, at in self.state().steps.items():
            if at.status == "undoing":
                self.journal.append("undone", step=name, ok=ok, what="so")

    @rule(name=st.sampled_from(NAMES), yes=st.booleans())
    def a_person_answers(self, name: str, yes: bool) -> None:
        self.journal.append("approved" if yes else "refused", step=name, by="Ada")

    @rule()
    def a_person_cancels(self) -> None:
        self.journal.append("cancelled", by="Bob")

    @rule(torn=st.integers(0, 40))
    def drctl_is_killed(self, torn: int) -> None:
        self.alive = False
        with (Path(self.folder.name) / "journal").open("ab") as file:
            file.write(b'1234abcd {"event":"over","step":"s0","at_ns":1,"ok":true}'[:torn])

    @precondition(lambda self: not self.alive)
    @rule()
    def it_is_resumed(self) -> None:
        self.alive = True
        before = self.state()
        self.journal.append("resumed", by="Ada")
        assert not self.running()
        for name, at in self.state().steps.items():
            assert at.attempts == before[name].attempts
            assert self.state().ending or at.status != "waiting" or at.tries == 0
        if before.ending == "failed" and not why_final(before):
            after = self.state()
            assert not after.ending
            undone = {n for n, s in before.steps.items() if s.status == "undone"}
            for step in self.graph.steps:  # nothing rests on what was undone
                if not undone.isdisjoint(step.after):
                    undone.add(step.name)
                    assert step.kind == "restore" or after[step.name].status == "waiting"
            self.done_once -= {n for n, s in after.steps.items() if s.status == "waiting"}
        else:
            assert self.state().ending == before.ending

    @invariant()
    def what_is_done_stays_done_unless_it_was_undone(self) -> None:
        if not hasattr(self, "journal"):
            return
        state = self.state()
        assert state.began_ns == 1
        for name in self.done_once:
            assert state[name].status in {"done", "undoing", "undone", "stuck"}
        self.done_once |= {n for n, s in state.steps.items() if s.status == "done"}
        for step in self.graph.steps:
            at = state[step.name]
            assert at.tries <= min(at.attempts, step.retries + 1)
            assert step.kind != "approval" or at.status != "done" or at.by == "Ada"

    @invariant()
    def a_run_that_can_do_nothing_more_has_ended(self) -> None:
        if not hasattr(self, "journal"):
            return
        found = moves(self.graph, self.state())
        busy = [s for s in self.state().steps.values() if s.status in {"running", "undoing"}]
        assert found.start or found.undo or found.ending or busy
        if found.ending == "done":
            assert all(
                s.status == "done" or self.graph[n].on_failure == "continue"
                for n, s in self.state().steps.items()
            )


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_clock_that_is_set_back_changes_no_order_of_what_is_undone(tmp_path) -> None:
    class Backwards(Time):
        def now_ns(self) -> int:
            self.ns -= 1
            return 1000 + self.ns

    steps = [Step(name, "run", undo=("x",), on_failure="undo") for name in ("a", "b", "c")]
    made, journal = graph(steps, "failover"), Journal(str(tmp_path), Backwards())
    journal.append("declared")
    for name in ("b", "a", "c"):
        journal.append("started", step=name)
        journal.append("over", step=name, ok=name != "c", what="")
    assert moves(made, replay(made, journal.events())).undo == "a"


def test_a_damaged_line_before_others_is_told_and_never_passed_over(tmp_path) -> None:
    journal = Journal(str(tmp_path), Time())
    journal.append("declared")
    journal.append("started", step="a")
    path = tmp_path / "journal"
    path.write_bytes(path.read_bytes().replace(b"declared", b"declarEd"))
    with pytest.raises(IntegrityError, match="line 1 is damaged"):
        journal.events()


def test_a_last_line_that_was_torn_is_cut_away(tmp_path) -> None:
    journal = Journal(str(tmp_path), Time())
    journal.append("declared")
    with (tmp_path / "journal").open("ab") as file:
        file.write(b'0badc0de {"event":')
    assert [e["event"] for e in journal.events()] == ["declared"]
    journal.append("resumed", by="Ada")
    assert [e["event"] for e in journal.events()] == ["declared", "resumed"]


def test_a_journal_that_cannot_be_written_says_what_helps(tmp_path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(StorageError) as refused:
        Journal(str(tmp_path), Time()).append("declared")
    assert "'drctl recover --resume' goes on" in refused.value.hint
    with pytest.raises(StorageError) as refused:
        Journal(str(tmp_path), Time(), "carry the drill out again").append("declared")
    assert "then carry the drill out again" in refused.value.hint
    assert "recover" not in refused.value.hint


def test_whoever_looks_whether_a_run_is_held_keeps_nobody_from_holding_it(tmp_path) -> None:
    journal, ended = Journal(str(tmp_path), SystemClock()), threading.Event()
    looks = Journal(str(tmp_path), SystemClock())

    def look() -> None:
        while not ended.is_set():
            looks.is_running()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            with journal.running():
                assert looks.is_running()
    finally:
        ended.set()
        looking.join()
    assert not looks.is_running()
