"""Does what the steps say: puts assets back, proves them, runs programs, looks, waits."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from drctl.clock import Clock
from drctl.errors import DrctlError, TargetRefused
from drctl.events import Event, Notice, Progress, Reporter
from drctl.ops.recovery.graph import Step
from drctl.ops.recovery.journal import Journal
from drctl.ops.recovery.look import Look
from drctl.ops.recovery.looking import Eyes
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.returning import Returning, View, Views, looking
from drctl.ops.recovery.runner import Control, Outcome
from drctl.ops.restore import RestoreResult, restore
from drctl.repository.reader import Reader
from drctl.started import born
from drctl.units import count, show_bytes, show_seconds


class Place(Struct, frozen=True):
    """What a run works with. `keeps_up`: what was proven stays up for the steps that follow, as
    in a drill; otherwise it is handed over at rest, for the programs that start it for real.
    `tell`: tells people who do not watch; a drill has nobody told."""

    run_id: str
    reader: Reader
    pool: Executor
    assets: Mapping[str, Returning]
    programs: Programs
    journal: Journal
    clock: Clock
    report: Reporter
    keeps_up: bool
    tell: Callable[[str, str], list[str]] | None = None  # step, words -> what went wrong


class Acting:
    """Performs steps in a place; see runner.Performer."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self.views = Views()
        self.eyes = Eyes(place.reader, place.programs, place.clock, place.report)

    def perform(self, step: Step, control: Control) -> Outcome:
        if step.kind == "restore":
            return self._restore(self._place.assets[step.asset], control)
        if step.kind == "prove":
            return self._prove(step, control)
        if step.kind == "check":
            return self._check(step, control)
        if step.kind == "run":
            return self._run(step, control)
        if step.kind == "wait":
            self._sleep(float(step.words[0]), control)
            return Outcome(not control.over(), control.over() or f"waited {step.words[0]}s")
        return self._notify(step)

    def close(self) -> None:
        """Take down what was put up."""
        self.views.close()

    def undo(self, step: Step, control: Control) -> Outcome:
        return self._programs(step).run(step.undo, variables(step, self._place.assets), control)

    # -- programs -----------------------------------------------------------------------------

    def _programs(self, step: Step) -> Programs:
        """So that what a killed drctl left running can be ended by the next one."""

        def told(pid: int) -> None:
            self._place.journal.append("process", step=step.name, pid=pid, born=born(pid))

        return replace(self._place.programs, told=told)

    def _run(self, step: Step, control: Control) -> Outcome:
        programs = self._programs(step)
        files = programs.files(step.words)
        outcome = programs.run(step.words, variables(step, self._place.assets), control)
        return replace(outcome, facts={**outcome.facts, "files": files})

    def _sleep(self, seconds: float, control: Control) -> None:
        control.cancelled.wait(min(seconds, control.left_seconds()))

    def _notify(self, step: Step) -> Outcome:
        """Whoever does not hear holds no recovery up."""
        text = step.words[0]
        with self._lock:
            self._place.report.emit(Notice("info", f"{step.name}: {text}"))
        troubles = self._place.tell(step.name, text) if self._place.tell else []
        return Outcome(ok=True, what="; not ".join([f"told: {text}", *troubles]))

    # -- restoring ----------------------------------------------------------------------------

    def _restore(self, asset: Returning, control: Control) -> Outcome:
        self._make_room(asset)
        report = _Watched(self._place.report, self._lock, control)
        done = restore(
            asset.snapshot,
            self._place.reader,
            asset.make_target(report),
            self._place.pool,
            self._place.clock,
            report,
        )
        return Outcome(not done.damaged, _told(done), _facts(done, asset))

    def _make_room(self, asset: Returning) -> None:
        """What this run put there before, and did not finish, goes. Anything else stays: it is
        set aside where the plan says so, or refuses the restore. What bears no mark where this run
        began to restore before it was resumed is perhaps somebody else's work since: it is set
        aside."""
        journal = self._place.journal
        spot = asset.spot
        events = journal.events()
        mine = {"event": "claimed", "step": asset.name, "to": asset.to}
        claims = [event for event in events if mine.items() <= event.items()]
        told = [e["event"] for e in events if e["event"] == "resumed" or e in claims]
        if claims and (told[-1] == "claimed" or not spot.is_whole()):
            spot.remove()
        elif claims or asset.existing == "set_aside":
            again = f"-{len(claims)}" if claims else ""
            for before, now in spot.set_aside(f".before-{self._place.run_id}{again}"):
                self._place.report.emit(Notice("warning", f"{before} is now {now}"))
        elif found := spot.standing():
            raise TargetRefused(
                f"{', '.join(found)} is there already, and nothing is overwritten",
                hint="move it away, or say 'existing: set_aside' in its step",
            )
        journal.append("claimed", step=asset.name, to=asset.to)

    # -- proving ------------------------------------------------------------------------------

    def _prove(self, step: Step, control: Control) -> Outcome:
        asset = self._place.assets[step.asset]
        view = self.views.open(asset)
        also = variables(step, self._place.assets)
        looked = [self.eyes.look(look, view, also, control) for look in step.looks]
        mark = None
        if view.standing is not None and not view.is_busy:
            with view.alone():
                mark = view.standing.newest_mark_ns()
        if not self._place.keeps_up:
            self.views.close(asset.name)
        wrong = [f"{one.look.name}: {one.what}" for one in looked if not one.ok]
        facts = {"looks": [one.document() for one in looked], "newest_mark_ns": mark}
        checks = count(len(looked), "check passes", "checks pass")
        passed = "; ".join(filter(None, (checks, asset.not_saved)))
        return Outcome(not wrong, "; ".join(wrong) or passed, facts)

    def _check(self, step: Step, control: Control) -> Outcome:
        (look,) = step.looks
        with self._view(look) as view:
            looked = self.eyes.look(look, view, variables(step, self._place.assets), control)
        return Outcome(looked.ok, looked.what, {"looks": [looked.document()]})

    @contextmanager
    def _view(self, look: Look) -> Iterator[View | None]:
        """What a check looks at. An asset that is handed over at rest is put up for it alone."""
        if not look.asset or self._place.keeps_up:
            yield self.views.get(look.asset)
            return
        asset = self._place.assets[look.asset]
        with looking(asset, asset.to) as view:
            yield view


def variables(step: Step, assets: Mapping[str, Returning]) -> dict[str, str]:
    """What a step's programs learn: where each asset stands, and what the plan lets them."""
    also = {name: os.environ[name] for name in step.env if name in os.environ}
    return {**also, **places({name: a.to for name, a in assets.items()})}


def places(at: Mapping[str, str]) -> dict[str, str]:
    """`DRCTL_AT_<ASSET>` for each asset."""
    return {f"DRCTL_AT_{name.upper().replace('-', '_')}": path for name, path in at.items()}


class _Watched:
    """Passes on what a person should read, one thread at a time; ends a restore that is to end."""

    def __init__(self, report: Reporter, lock: threading.Lock, control: Control) -> None:
        self._report = report
        self._lock = lock
        self._control = control

    def emit(self, event: Event) -> None:
        why = self._control.over()
        if why:
            raise DrctlError(f"the restore was given up: {why}")
        if isinstance(event, Notice) and event.level == "warning":
            with self._lock:
                self._report.emit(event)
        elif isinstance(event, Progress):
            return


def _told(done: RestoreResult) -> str:
    text = f"{show_bytes(done.size_bytes)} in {show_seconds(done.seconds)}"
    if done.damaged:
        first = next(iter(done.problems))
        damaged = count(done.damaged, "entry is", "entries are")
        return f"{damaged} DAMAGED in the repository, first {first.path}: {first.what}"
    if done.problems:
        text += f", {count(len(done.problems), 'entry is', 'entries are')} not as saved"
    return text


def _facts(done: RestoreResult, asset: Returning) -> dict[str, object]:
    return {
        "snapshot": done.snapshot.name,
        "to": asset.to,
        "entries": done.entries,
        "size_bytes": done.size_bytes,
        "seconds": round(done.seconds, 3),
        "not_as_saved": [f"{p.path}: {p.what}" for p in done.problems[:20]],
    }
