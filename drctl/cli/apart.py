"""No two repositories of a plan may be one place: a link, a mount or another name of a server may
lead from one to the other. Then there is one copy less than the plan says, and what the rule of one
removes, the other has lost."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import TypeVar

from drctl.clock import Clock
from drctl.errors import DrctlError, StorageError
from drctl.ops.copying import one_place
from drctl.repository import runs
from drctl.storage.retry import Retry
from drctl.units import show_seconds
from drctl.wiring import Wiring

_T = TypeVar("_T")
PATIENCE_SECONDS = 10.0
ATTEMPTS = 2


def must_be_apart(wiring: Wiring, name: str, others: Sequence[str]) -> None:
    """A sign that is put at one is looked for at the others. Those that do not answer are not it,
    or cannot be written to either. Raises StorageError."""
    if not others:
        return
    storage = wiring.storage(name)
    try:
        run = runs.Run(storage, wiring.randomness, wiring.clock, reviving=False)
    except StorageError:
        return  # where nothing can be written no rule removes anything

    def is_seen(other: str) -> bool:
        return run.stands_at(Retry(wiring.bare_storage(other), wiring.clock, attempts=ATTEMPTS))

    try:
        seen = answers(wiring.clock, others, is_seen, PATIENCE_SECONDS)
        for other in (other for other, is_one in seen.items() if is_one is True):
            raise one_place(storage, wiring.storage(other))
    finally:
        with suppress(StorageError):
            run.end()


def answers(
    clock: Clock, names: Sequence[str], ask: Callable[[str], _T], patience_seconds: float
) -> dict[str, _T | DrctlError]:
    """What each gives, or what hindered it. All are asked at once, in threads that nobody waits for
    when it is too late."""
    given: dict[str, _T | DrctlError] = {}

    def asking(name: str) -> None:
        try:
            given[name] = ask(name)
        except DrctlError as error:
            given[name] = error

    threads = [Thread(target=asking, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    ends = clock.monotonic_seconds() + patience_seconds
    for thread in threads:
        thread.join(max(0.0, ends - clock.monotonic_seconds()))
    late = StorageError(f"no answer within {show_seconds(patience_seconds)}")
    return {name: given.get(name, late) for name in names}
