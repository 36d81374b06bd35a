"""Reporters: events go to standard error, so that standard output is the result alone."""

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from msgspec.structs import asdict

from drctl.events import EntryProblem, Event, Notice, Phase, Progress, Reporter
from drctl.units import show_bytes, show_line, show_seconds, show_text

if TYPE_CHECKING:
    from rich.progress import TaskID

_JSON_PROGRESS_SECONDS = 1.0
_MOST_PROBLEMS = 20  # told one by one; the result holds them all


def reporter(*, as_json: bool, quiet: bool, stream: TextIO | None = None) -> Reporter:
    """The reporter for how drctl was called."""
    stream = stream or sys.stderr
    if as_json:
        return JsonLines(stream)
    if quiet:
        return Lines(stream, quiet=True)
    return Terminal(stream) if stream.isatty() else Lines(stream)


class JsonLines:
    """One JSON document a line: {"event": "phase", ...}. Progress is told once a second."""

    def __init__(self, stream: TextIO, seconds: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._seconds = seconds
        self._told_at = seconds()

    def emit(self, event: Event) -> None:
        if isinstance(event, Progress):
            if self._seconds() - self._told_at < _JSON_PROGRESS_SECONDS:
                return
            self._told_at = self._seconds()
        fields = asdict(event)
        kind = "entry_problem" if isinstance(event, EntryProblem) else type(event).__name__.lower()
        print(json.dumps({"event": kind, **fields}), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is open."""


class Lines:
    """Plain lines, for cron and logs. Quiet: only what went wrong."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._problems = 0

    def emit(self, event: Event) -> None:
        text = self._text(event)
        if text:
            print(show_text(text), file=self._stream, flush=True)

    def _text(self, event: Event) -> str:
        if isinstance(event, EntryProblem):
            return self._problem(event)
        if isinstance(event, Notice) and event.level == "warning":
            return f"warning: {event.text}"
        if self._quiet or isinstance(event, Progress):
            return ""
        return f"{event.what} ..." if isinstance(event, Phase) else event.text

    def _problem(self, event: EntryProblem) -> str:
        self._problems += 1
        if self._problems == _MOST_PROBLEMS + 1:
            return "warning: more entries have problems; --json tells them all"
        told = f"warning: {event.path}: {event.what}"
        return told if self._problems <= _MOST_PROBLEMS else ""

    def close(self) -> None:
        """Nothing is open."""


class Terminal:
    """A bar with bytes, rate and time left, under the lines of what was told before."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._console = Console(file=stream, highlight=False, emoji=False, soft_wrap=True)
        self._lines = Lines(_Printing(self._console))  # type: ignore[arg-type]
        self._bar: Bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._began = 0.0

    def emit(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._advance(event)
        elif isinstance(event, Phase):
            self._begin(event)
        else:
            self._lines.emit(event)

    def _begin(self, phase: Phase) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        told = show_line(phase.what)
        what = told if len(told) <= 34 else f"{told[:33]}…"
        self._task = self._bar.add_task(what, total=None, amount="")
        self._began = self._bar.get_time()
        self._bar.start()

    def _advance(self, event: Progress) -> None:
        if self._task is None:
            return
        seconds = max(self._bar.get_time() - self._began, 0.001)
        rate = event.done_bytes / seconds
        amount = f"{show_bytes(event.done_bytes)} {show_bytes(rate)}/s"
        if event.total_bytes and rate:
            left = max(event.total_bytes - event.done_bytes, 0) / rate
            amount += f" {show_seconds(left)} left"
        total = event.total_bytes or None
        self._bar.update(self._task, completed=event.done_bytes, total=total, amount=amount)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


class _Printing:
    """What a stream is to `print`, above the bar."""

    def __init__(self, console: object) -> None:
        self._console = console

    def write(self, text: str) -> int:
        if text.strip():
            self._console.print(text.rstrip("\n"), markup=False)  # type: ignore[attr-defined]
        return len(text)

    def flush(self) -> None:
        """The console writes at once."""
