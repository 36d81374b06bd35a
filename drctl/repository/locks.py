"""What is locked until when, as this host remembers: so that a lock that is not due costs nothing.

The book is only ever a help. Without it, or after the lock's mode changed, each object that a
snapshot needs is locked once more.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from drctl import private
from drctl.clock import Clock
from drctl.errors import NotFound
from drctl.storage.s3_lock import Lock

_NS = 10**9
_COMMIT_SECONDS = 600  # a snapshot is committed soon after what it needs was locked
_GROUP = 64  # requests under way


class Lockable(Protocol):
    """A storage that locks objects. `written`: what it locked as it was put."""

    lock: Lock
    written: dict[str, int]

    def retain(self, name: str, until_ns: int) -> None:
        """Lock until then at least. Raises NotFound, StorageError."""
        ...


class LockBook:
    """Keeps at `path` until when objects of one storage are locked. `again` repeats a call that
    failed for a passing reason."""

    def __init__(
        self,
        path: str,
        storage: Lockable,
        clock: Clock,
        again: Callable[[Callable[[], None]], None],
    ) -> None:
        self._path = path
        self._storage = storage
        self._clock = clock
        self._again = again
        self._guarding = threading.Lock()
        self._until, self._done = _read(path, storage.lock.mode)

    @property
    def period_ns(self) -> int:
        return int(self._storage.lock.period_seconds * _NS)

    def hold(self, names: Iterable[str], pool: Executor) -> list[str]:
        """Everything that a snapshot needs which is about to be committed is locked for its whole
        period. Gives those that are not there. Raises StorageError."""
        return self.hold_until(
            names, self._clock.now_ns() + self.period_ns + _COMMIT_SECONDS * _NS, pool
        )

    def hold_until(self, names: Iterable[str], until_ns: int, pool: Executor) -> list[str]:
        """The same up to an instant. What is locked anew gets the slack, too."""
        with self._guarding:
            self._until.update(self._storage.written)
            due = iter([name for name in names if self._until.get(name, 0) < until_ns])
            new_ns = max(until_ns, self._storage.lock.new_until_ns(self._clock.now_ns()))
            lost: list[str] = []
            try:
                while group := list(islice(due, _GROUP)):
                    held = pool.map(lambda name: self._retain(name, new_ns), group)
                    for name, is_there in zip(group, held, strict=True):
                        if is_there:
                            self._until[name] = new_ns
                        else:
                            lost.append(name)
            finally:
                self._write()
            return lost

    def _retain(self, name: str, until_ns: int) -> bool:
        try:
            self._again(lambda: self._storage.retain(name, until_ns))
        except NotFound:
            return False
        return True

    # -- snapshots that were seen to ----------------------------------------------------------

    def is_done(self, snapshot: str) -> bool:
        return snapshot in self._done

    def mark_done(self, snapshot: str, until_ns: int) -> None:
        """All that it needs is locked up to `until_ns`, its own date."""
        with self._guarding:
            self._done[snapshot] = until_ns
            self._write()

    def _write(self) -> None:
        """What ran out is forgotten."""
        now_ns = self._clock.now_ns()
        document = {
            "mode": self._storage.lock.mode,
            "until": {name: ns for name, ns in self._until.items() if ns > now_ns},
            "done": {name: ns for name, ns in self._done.items() if ns > now_ns},
        }
        with suppress(OSError):  # no room, no rights: it is locked once more next time
            private.replace(self._path, json.dumps(document))


def _read(path: str, mode: str) -> tuple[dict[str, int], dict[str, int]]:
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        if document["mode"] != mode:
            return {}, {}
        return _instants(document["until"]), _instants(document["done"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}  # none yet, or a damaged one


def last_of(path: str) -> int:
    """Until when the last of what a book tells of is locked; 0: there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return max(_instants(json.load(file)["until"]).values(), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0  # none yet, or a damaged one


def _instants(found: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(ns) for name, ns in found.items()}
