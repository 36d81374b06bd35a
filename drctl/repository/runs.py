"""Signs that a run is under way, which collection looks at before it deletes anything.

A run puts `runs/writing/<id>` before it looks at what is stored, and takes it away when it is done.
Collection deletes the sign of a run that it takes for dead, and only then looks at what is needed.
So a run whose sign still stands after its refs are visible knows that whatever is deleted from now
on is not what it needs; one whose sign is gone looks again before it commits. No clock has a part
in this: the storage's timestamps only tell which run is likely to be dead. docs/format.md holds the
protocol.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct

from drctl.clock import Clock, Randomness
from drctl.errors import StorageError, StorageFault
from drctl.events import Event, Reporter
from drctl.repository import names
from drctl.storage.base import Storage, is_there

_SHOW_EVERY_SECONDS = 600.0


class Run:
    """One run's sign. Used by one thread. `reviving`: the run relies on marked objects, so that no
    sweep may begin meanwhile."""

    def __init__(
        self, storage: Storage, randomness: Randomness, clock: Clock, *, reviving: bool
    ) -> None:
        self.reviving = reviving
        self._storage = storage
        self._randomness = randomness
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Put a sign. Also once more, when somebody took the first one away."""
        self._id = self._randomness(16).hex()
        self._has_shown = False
        self._shown_at = self._clock.monotonic_seconds()
        self._storage.put(self._name, b"")

    @property
    def _name(self) -> str:
        return (names.REVIVING if self.reviving else names.WRITING) + self._id

    def keep_alive(self) -> None:
        """Called often; puts something only now and then."""
        now = self._clock.monotonic_seconds()
        if now - self._shown_at >= _SHOW_EVERY_SECONDS:
            self._shown_at = now
            self._has_shown = True
            self._storage.put(names.ALIVE + self._id, b"", replace=True)

    def stands(self) -> bool:
        """Whether nobody took this run for dead."""
        return is_there(self._storage, self._name)

    def stands_at(self, other: Storage) -> bool:
        """Whether its sign is seen there: then both are one place. Raises StorageError."""
        return is_there(other, self._name)

    def end(self) -> None:
        """Take the sign away."""
        if self._has_shown:
            self._storage.delete(names.ALIVE + self._id)
        self._storage.delete(self._name)


class Showing:
    """A reporter that also shows that the run is alive, as often as something is told."""

    def __init__(self, run: Run, inner: Reporter) -> None:
        self._run = run
        self._inner = inner

    def emit(self, event: Event) -> None:
        self._run.keep_alive()
        self._inner.emit(event)


@contextmanager
def running(
    storage: Storage, randomness: Randomness, clock: Clock, *, reviving: bool = False
) -> Iterator[Run]:
    """A run's sign stands while the block runs. One that a failing storage keeps, or that a killed
    run left, holds collection up for a while and does no other harm."""
    run = Run(storage, randomness, clock, reviving=reviving)
    try:
        yield run
    except StorageFault:
        raise  # the storage does not answer: asking it for more would only hang
    except BaseException:  # a full disk, too: taking away needs no room
        with suppress(StorageError):
            run.end()
        raise
    else:
        with suppress(StorageError):  # what the run was for is done
            run.end()


class Sign(Struct, frozen=True):
    """A run as others see it. `shown_ns`: when it last showed itself, by the storage's clock."""

    name: str
    id: str
    shown_ns: int


def signs(storage: Storage, folder: str) -> list[Sign]:
    """The runs of one kind that have a sign. What shows that one lives is put after it, whatever
    the clock said then."""
    alive = {names.digest_of(i.name): i.modified_ns for i in storage.list(names.ALIVE)}
    listed = [info for info in storage.list(folder) if names.is_id(info.name)]
    found = [(info, names.digest_of(info.name)) for info in listed]
    return [Sign(i.name, own, alive.get(own, i.modified_ns)) for i, own in found]


def forget_gone(storage: Storage) -> None:
    """What shows that a run lives that has no sign: it was taken for dead, and showed itself once
    more. Listed before the signs, each of which is put before it."""
    alive = [info for info in storage.list(names.ALIVE) if names.is_id(info.name)]
    folders = (names.WRITING, names.REVIVING) if alive else ()
    there = {names.digest_of(info.name) for folder in folders for info in storage.list(folder)}
    for info in alive:
        if names.digest_of(info.name) not in there:
            storage.delete(info.name)


def put_out(storage: Storage, sign: Sign) -> None:
    """Take a run for dead. If it is not, it will see this before it commits."""
    storage.delete(sign.name)
    storage.delete(names.ALIVE + sign.id)
