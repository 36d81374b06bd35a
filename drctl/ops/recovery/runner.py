"""Carries the steps of a run out, in parallel where they may be, each event journalled first.

A step works in a thread of its own. It is told when it is to end (`Control`), and one that does not
hear is given up after a while: its thread dies with the process, and the run goes on without it.
"""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from drctl.clock import Clock
from drctl.errors import DrctlError
from drctl.events import Notice, Reporter
from drctl.ops.recovery.graph import Graph, Step
from drctl.ops.recovery.journal import Journal
from drctl.ops.recovery.state import State, moves, replay
from drctl.units import show_seconds

_LOOK_SECONDS = 0.2  # how often answers from other terminals are looked for
_GRACE_SECONDS = 15.0  # for a step to end that was told to


class Outcome(Struct, frozen=True):
    """How a step went: `what` is one sentence, `facts` are for the evidence. One that is not
    `ok` may be tried again, unless it is `final`."""

    ok: bool
    what: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    final: bool = False


class Control(Struct):
    """What a working step looks at. Times are of the monotonic clock."""

    clock: Clock
    deadline_seconds: float
    cancelled: threading.Event
    timeout_seconds: float
    attempt: int = 1

    def left_seconds(self) -> float:
        """How long it may still take; 0 when it is to end now."""
        if self.cancelled.is_set():
            return 0.0
        return max(self.deadline_seconds - self.clock.monotonic_seconds(), 0.0)

    def over(self) -> str:
        """Why it has to end; empty while it may go on."""
        if self.cancelled.is_set():
            return "it was cancelled"
        late = self.clock.monotonic_seconds() >= self.deadline_seconds
        return f"it did not end within {show_seconds(self.timeout_seconds)}" if late else ""


class Performer(Protocol):
    """Does what a step says. May raise DrctlError; is called from many threads."""

    def perform(self, step: Step, control: Control) -> Outcome: ...

    def undo(self, step: Step, control: Control) -> Outcome: ...


class _Work(Struct):
    """A thread that is under way."""

    step: Step
    control: Control
    is_undo: bool


class Runner:
    """One living drctl that carries out a run."""

    def __init__(
        self,
        graph: Graph,
        journal: Journal,
        performer: Performer,
        clock: Clock,
        report: Reporter,
        pause_seconds: float = 1.0,
    ) -> None:
        """`pause_seconds` pass before a step is tried again, the double before the next time."""
        self._graph = graph
        self._journal = journal
        self._performer = performer
        self._clock = clock
        self._report = report
        self._pause_seconds = pause_seconds
        self._cancelled = threading.Event()
        self._results: queue.SimpleQueue[tuple[_Work, Outcome]] = queue.SimpleQueue()
        self._working: dict[str, _Work] = {}

    def run(self) -> State:
        """Go on from where the journal stands until nothing more can be done. A KeyboardInterrupt
        leaves the journal as it is: a resume goes on."""
        try:
            return self._run()
        except BaseException:
            self._cancelled.set()
            raise

    def _run(self) -> State:
        while True:
            state = self._state()
            if state.cancelled_by:
                self._cancel()
            found = moves(self._graph, state)
            if found.ending:
                self._write("ended", ending=found.ending)
                return self._state()
            for name in found.start:
                self._start(self._graph[name])
            if found.undo:
                self._start_undo(self._graph[found.undo])
            self._answer_approvals(state)
            self._collect()

    def _cancel(self) -> None:
        """Every step that works is to end from now on."""
        if self._cancelled.is_set():
            return
        self._cancelled.set()
        now = self._clock.monotonic_seconds()
        for work in self._working.values():
            work.control.deadline_seconds = min(work.control.deadline_seconds, now)

    def _state(self) -> State:
        return replay(self._graph, self._journal.events())

    def _write(self, event: str, **fields: Any) -> None:
        self._journal.append(event, **fields)

    # -- starting -----------------------------------------------------------------------------

    def _start(self, step: Step) -> None:
        self._write("started", step=step.name)
        if step.kind == "approval":
            words = f"{step.name}: waits for the approval of {step.words[0]}"
            self._tell(f"{words}: drctl recover --approve {step.name} --by NAME", True)
        self._work(step, is_undo=False)

    def _start_undo(self, step: Step) -> None:
        self._write("undoing", step=step.name)
        self._tell(f"{step.name}: is undone")
        self._work(step, is_undo=True)

    def _work(self, step: Step, *, is_undo: bool) -> None:
        deadline = self._clock.monotonic_seconds() + step.timeout_seconds
        event = threading.Event() if is_undo else self._cancelled
        attempt = self._state()[step.name].tries
        control = Control(self._clock, deadline, event, step.timeout_seconds, attempt)
        work = _Work(step, control, is_undo)
        self._working[step.name] = work
        if step.kind != "approval" or is_undo:
            threading.Thread(target=self._perform, args=(work,), daemon=True).start()

    def _perform(self, work: _Work) -> None:
        act: Callable[[Step, Control], Outcome]
        act = self._performer.undo if work.is_undo else self._performer.perform
        if work.control.attempt > 1 and not work.is_undo:
            pause = self._pause_seconds * 2 ** min(work.control.attempt - 2, 5)
            work.control.cancelled.wait(min(pause, work.control.left_seconds()))
        try:
            outcome = act(work.step, work.control)
        except DrctlError as error:
            outcome = Outcome(ok=False, what=error.what)
        except Exception as error:  # noqa: BLE001 - a bug fails this step, not the recovery
            outcome = Outcome(ok=False, what=f"a bug in drctl: {type(error).__name__}: {error}")
        self._results.put((work, outcome))

    # -- ending -------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Wait a little for results, and take those that are there."""
        try:
            work, outcome = self._results.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            self._give_up_the_deaf()
            return
        if self._working.get(work.step.name) is work:
            self._over(work, outcome)

    def _over(self, work: _Work, outcome: Outcome) -> None:
        del self._working[work.step.name]
        name, step = work.step.name, work.step
        if work.is_undo:
            self._write("undone", step=name, ok=outcome.ok, what=outcome.what)
        elif self._is_tried_again(step, outcome):
            self._write("tried", step=name, what=outcome.what)
            self._tell(f"{name}: {outcome.what}: it is tried again", True)
            return
        else:
            facts = dict(outcome.facts)
            self._write("over", step=name, ok=outcome.ok, what=outcome.what, facts=facts)
        said = outcome.what or "done"
        self._tell(f"{name}: {said}" if outcome.ok else f"{name}: FAILED: {said}", not outcome.ok)

    def _is_tried_again(self, step: Step, outcome: Outcome) -> bool:
        tries = self._state()[step.name].tries
        is_over = outcome.ok or outcome.final or self._cancelled.is_set()
        return not is_over and tries <= step.retries

    def _give_up_the_deaf(self) -> None:
        for work in list(self._working.values()):
            late = self._clock.monotonic_seconds() - work.control.deadline_seconds
            grace = 0.0 if work.step.kind == "approval" else _GRACE_SECONDS
            if late > grace:
                self._over(work, Outcome(ok=False, what=work.control.over(), final=True))

    def _answer_approvals(self, state: State) -> None:
        """A person has answered, or the run was cancelled: the approval is over."""
        for work in list(self._working.values()):
            at = state.steps.get(work.step.name)
            if work.step.kind != "approval" or at is None:
                continue
            if at.by:
                word = "approved" if at.is_approved else "refused"
                outcome = Outcome(ok=at.is_approved, what=f"{word} by {at.by}", final=True)
                self._over(work, outcome)
            elif self._cancelled.is_set():
                self._over(work, Outcome(ok=False, what="it was cancelled", final=True))

    def _tell(self, text: str, is_warning: bool = False, /) -> None:
        self._report.emit(Notice("warning" if is_warning else "info", text))
