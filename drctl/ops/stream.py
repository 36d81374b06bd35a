"""The walk of a stream: follow each asset's log for as long as we run, whatever fails meanwhile."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from msgspec import Struct, field

from drctl import __version__
from drctl.clock import Clock
from drctl.engines.base import Follower
from drctl.errors import DrctlError
from drctl.events import Event, Notice, Reporter
from drctl.ops.replicate import copy_logs
from drctl.storage.base import Storage

_FIRST_SECONDS, _MOST_SECONDS = 1.0, 10.0
_WELL_SECONDS = 5.0  # an attempt that lasted longer was no mere failure
_LOOK_SECONDS = 0.5


class OneAtATime:
    """A reporter for several threads."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        with self._lock:
            self._report.emit(event)


class Bugs:
    """What nobody foresaw: it ends one attempt, not the service. `show` is given each once, with
    its traceback: an attempt is made again and again."""

    def __init__(self, show: Callable[[Exception], None]) -> None:
        self._show = show
        self._shown: set[str] = set()

    def told(self, error: Exception) -> str:
        """What to warn of."""
        what = f"a bug in drctl {__version__}: {type(error).__name__}: {error}"
        if what not in self._shown:
            self._shown.add(what)
            self._show(error)
        return what


class Ending(Struct):
    """Whether the streams are to end; a thread waits for it in naps."""

    asked: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> bool:
        return self.asked.is_set()


class Copying(Struct, frozen=True):
    """How the logs get to other repositories, every `seconds`."""

    source: Storage
    copies: tuple[Storage, ...]
    pool: Executor
    seconds: float
    bugs: Bugs

    def once(self, report: Reporter) -> None:
        """A site that is away keeps no other from being brought up to date."""
        for copy in self.copies:
            try:
                copy_logs(self.source, copy, self.pool)
            except DrctlError as error:
                report.emit(Notice("warning", f"the log in {copy.where} is behind: {error.what}"))
            except Exception as error:  # noqa: BLE001 - a bug
                told = self.bugs.told(error)
                report.emit(Notice("warning", f"the log in {copy.where} is behind: {told}"))

    def keep_on(self, ending: Ending, report: Reporter) -> None:
        """Until it is ended."""
        while not ending.asked.wait(self.seconds):
            self.once(report)


def stream(
    followers: Sequence[tuple[str, Follower]],
    copying: Copying,
    ending: Ending,
    clock: Clock,
    report: Reporter,
) -> None:
    """Follow every asset until `ending` is asked for, each in a thread of its own. A signal that
    comes meanwhile asks for it; what came in by then is stored, and copied."""
    threads = [
        threading.Thread(
            target=_keep_following,
            args=(follower, ending, clock, report, copying.bugs),
            name=asset,
        )
        for asset, follower in followers
    ]
    if copying.copies:
        threads.append(threading.Thread(target=copying.keep_on, args=(ending, report)))
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            clock.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        report.emit(Notice("info", "ending: storing what came in"))
    finally:
        ending.asked.set()
        for thread in threads:
            thread.join()
        copying.once(report)


def _keep_following(
    follower: Follower, ending: Ending, clock: Clock, report: Reporter, bugs: Bugs
) -> None:
    """Again after every failure, later each time, and soon after a stretch that went well."""
    wait_seconds = 0.0
    while not ending():
        began = clock.monotonic_seconds()
        try:
            follower.follow(ending)
        except DrctlError as error:
            hint = f" ({error.hint})" if error.hint else ""
            report.emit(Notice("warning", f"{error.what}{hint}; trying again"))
        except Exception as error:  # noqa: BLE001 - a bug ends one attempt, not the service
            report.emit(Notice("warning", f"{bugs.told(error)}; trying again"))
        wait_seconds = next_wait_seconds(wait_seconds, clock.monotonic_seconds() - began)
        ending.asked.wait(wait_seconds)


def next_wait_seconds(waited_seconds: float, lasted_seconds: float) -> float:
    """How long to wait after an attempt that lasted so long, before which it was waited so long. A
    log that nobody follows is what a crash loses, and commits may wait for it."""
    if lasted_seconds > _WELL_SECONDS:
        return _FIRST_SECONDS
    return min(max(2 * waited_seconds, _FIRST_SECONDS), _MOST_SECONDS)
