"""An asset on its way back, and the view that checks have of it once it stands somewhere."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal

from msgspec import Struct, field

from drctl.codec.entries import Root
from drctl.engines.base import Probe, Standing, Target
from drctl.errors import DrctlError
from drctl.events import Reporter
from drctl.model import Snapshot
from drctl.ops.recovery.occupied import Spot

_LOOK_SECONDS = 0.1
_LAST_LOOKS = 100  # for a question to end that is asked while all is taken down


class Returning(Struct, frozen=True):
    """`spot`: where it is put. `counts_due`: what was counted at the consistent point.
    `make_hollow` puts an empty asset of its kind somewhere, where the engine knows how.
    `is_marked`: the plan has a marker written into it; `measurable_by`: what would let a drill tell
    how fresh it is.
    `not_saved`: what the snapshot says itself it does not hold, as one sentence."""

    name: str
    snapshot: Snapshot
    root: Root
    spot: Spot
    existing: Literal["refuse", "set_aside"]
    counts_due: Mapping[str, int]
    make_target: Callable[[Reporter], Target]
    make_probe: Callable[[str], Probe]
    make_hollow: Callable[[str], None] | None = None
    is_marked: bool = False
    measurable_by: str = ""
    not_saved: str = ""

    @property
    def to(self) -> str:
        return self.spot.to


class View(Struct, frozen=True):
    """What a check looks at: a place, and the asset that stands there or the reason why it does
    not. The lock is held while it is asked: not every database lets two ask at once. `unended`: the
    questions that were given up and may go on, though nobody holds the lock for them: on a
    connection that two use, one would be given what the other asked for."""

    asset: Returning
    at: str
    standing: Standing | None
    why_down: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)
    unended: list[Future[Any]] = field(default_factory=list)

    @property
    def is_busy(self) -> bool:
        """Whether a question that was given up goes on."""
        return not all(answer.done() for answer in self.unended)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else asks meanwhile, and nobody takes it down. Raises DrctlError where somebody
        did: to ask a database that is closed ends the process; and where a question that was given
        up goes on."""
        with self.lock:
            if self.closing.is_set():
                raise DrctlError(f"{self.asset.name} was taken down before it was asked")
            if self.is_busy:
                raise DrctlError(f"{self.asset.name}: the question before does not end")
            yield


@contextmanager
def looking(asset: Returning, at: str) -> Iterator[View]:
    """The asset put up at a place, for as long as the context lasts. That it does not come up is
    told in the view."""
    with ExitStack() as stack:
        standing, why = None, ""
        try:
            standing = stack.enter_context(asset.make_probe(at).open())
        except DrctlError as error:
            why = f"it does not come up: {error.what}"
        yield View(asset, at, standing, why)


class Views:
    """The assets that are up. Opened by any thread, closed together."""

    def __init__(self) -> None:
        self._views: dict[str, tuple[View, ExitStack]] = {}
        self._lock = threading.Lock()
        self._ended = False

    def open(self, asset: Returning) -> View:
        """Put it up where it was restored, once. Raises DrctlError where all were closed meanwhile:
        nobody would take it down."""
        found = self.get(asset.name)
        if found is not None and found.standing is not None:
            return found
        stack = ExitStack()
        view = stack.enter_context(looking(asset, asset.to))
        with self._lock:
            if not self._ended:
                self._views[asset.name] = view, stack
                return view
        stack.close()
        raise DrctlError(f"{asset.name} came up when all was over, and was taken down")

    def get(self, name: str) -> View | None:
        with self._lock:
            return self._views[name][0] if name in self._views else None

    def close(self, *names: str) -> None:
        """Take these down; by default all, for good. Raises DrctlError of one that does not go."""
        with self._lock:
            self._ended = self._ended or not names
            found = [self._views.pop(n) for n in names or tuple(self._views) if n in self._views]
        with ExitStack() as all_:
            for view, stack in found:
                all_.callback(stack.close)
                all_.callback(_silence, view)


def _silence(view: View) -> None:
    """Nothing more is asked, and what is being asked ends."""
    view.closing.set()
    for _ in range(_LAST_LOOKS):
        if view.standing is None:
            return
        if view.lock.acquire(timeout=_LOOK_SECONDS):
            view.lock.release()
            return
        with suppress(DrctlError):  # it is down already
            view.standing.interrupt()
