"""The runs of a plan's real recoveries: each a directory with what was decided and a journal."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import chain
from typing import Any

from msgspec import Struct

from drctl.clock import Clock
from drctl.errors import IntegrityError, StorageError, UsageError
from drctl.ops.recovery.journal import Event, Journal
from drctl.private import make_directory, replace
from drctl.repository.state import exclusive
from drctl.started import born

_ORDER = "order.json"
Order = dict[str, Any]


class Run(Struct, frozen=True):
    """`order`: what was decided when it began, so that a resume decides nothing anew."""

    name: str
    order: Order
    journal: Journal

    @property
    def has_ended(self) -> bool:
        """One that failed and was resumed has not."""
        words = [e["event"] for e in self.journal.events() if e["event"] in {"ended", "resumed"}]
        return words[-1:] == ["ended"]

    @property
    def has_begun(self) -> bool:
        """Whether anything was done yet."""
        return any(event["event"] == "started" for event in self.journal.events())


def alone(home: str) -> AbstractContextManager[None]:
    """Hold all recoveries of a plan: a second one would fence again, and nobody's answer would
    reach the first. Raises Busy."""
    return exclusive(
        os.path.join(home, "recover.lock"),
        "a recovery of this plan",
        hint="see it with 'drctl recover --watch', end it with --cancel --by NAME",
    )


def unfinished(home: str, clock: Clock) -> Run | None:
    """The run that began last, where it did something and was left before its end. One that was
    begun anew in spite of it is not asked about again: whoever said so knew."""
    run = last(home, clock)
    return run if run and run.has_begun and not run.has_ended else None


def begin(home: str, name: str, order: Order, clock: Clock) -> Run:
    """A new run. Its order is on the disk before anything is done, whole or not at all: one that
    does not read would keep everybody from recovering. Raises StorageError."""
    directory = os.path.join(home, name)
    try:
        make_directory(directory)
        replace(os.path.join(directory, _ORDER), json.dumps(order, indent=1) + "\n")
    except OSError as error:
        raise StorageError(
            f"{directory}: the recovery cannot be written down: {error.strerror}",
            hint="make room or rights there, and begin again: nothing was done yet",
        ) from error
    return Run(name, order, Journal(directory, clock))


def name_of(declared_ns: int, before: Run | None, mark: str) -> str:
    """Of a run that is to be the last, also where the clock was set back since the one before."""
    seconds = declared_ns // 10**9
    told = before.name.partition("-")[0] if before else ""
    return f"{max(seconds, int(told) + 1 if told.isdigit() else 0)}-{mark}"


def newest(home: str, clock: Clock) -> Run:
    """The run that began last. Raises UsageError when there was none."""
    found = last(home, clock)
    if found is None:
        raise UsageError("there is no recovery here", hint="'drctl recover' begins one")
    return found


def end_what_was_left(run: Run) -> None:
    """Programs of a drctl that was killed: they are run again, so they must not run twice."""
    left: dict[str, list[Event]] = {}
    for event in run.journal.events():
        if event["event"] == "process":
            left.setdefault(event["step"], []).append(event)
        elif event["event"] in {"over", "undone"}:
            left.pop(event["step"], None)
    for event in chain.from_iterable(left.values()):
        if event["born"] and born(event["pid"]) == event["born"]:
            with suppress(ProcessLookupError):
                os.killpg(event["pid"], signal.SIGKILL)


def last(home: str, clock: Clock) -> Run | None:
    """The same; None when there was none."""
    return max(_all(home, clock), key=lambda run: run.name, default=None)


def _all(home: str, clock: Clock) -> Iterator[Run]:
    with suppress(FileNotFoundError):
        for name in os.listdir(home):
            directory = os.path.join(home, name)
            path = os.path.join(directory, _ORDER)
            if os.path.exists(path):
                yield Run(name, _order(path), Journal(directory, clock))


def _order(path: str) -> Order:
    try:
        with open(path, encoding="utf-8") as file:
            found: Order = json.load(file)
    except ValueError as error:
        raise IntegrityError(
            f"{path}: what that recovery was to do does not read any more",
            hint="see in the journal beside it what was done; move that directory away to go on",
        ) from error
    return found
