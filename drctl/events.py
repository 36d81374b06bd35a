"""What a run tells while it works. Operations emit events; reporters show them."""

from typing import Literal, Protocol

from msgspec import Struct


class Phase(Struct, frozen=True):
    """A stretch of work begins: `what` is a verb phrase such as "backing up orders"."""

    what: str


class Progress(Struct, frozen=True):
    """How far the present phase is. Totals are 0 while they are not known."""

    done_bytes: int
    total_bytes: int
    entries: int
    total_entries: int = 0
    stored_bytes: int = 0  # what went to storage so far


class Notice(Struct, frozen=True):
    """Something a person should read. A `warning` never changes the exit code by itself."""

    level: Literal["info", "warning"]
    text: str


class EntryProblem(Struct, frozen=True):
    """One entry could not be read or put back whole; the run goes on and ends partial."""

    path: str
    what: str


Event = Phase | Progress | Notice | EntryProblem


class Reporter(Protocol):
    """Shows events. Called from the thread of the operation only."""

    def emit(self, event: Event) -> None: ...


class Silent:
    """A reporter that shows nothing."""

    def emit(self, event: Event) -> None:
        pass
