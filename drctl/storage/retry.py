"""Try again what may pass. The only place that does."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from drctl.clock import Clock
from drctl.errors import AlreadyExists, StorageFault
from drctl.storage.base import Buffer, ObjectInfo, Storage

_T = TypeVar("_T")
_PAGE = 1000
_PATIENT_ATTEMPTS, _PATIENT_SECONDS = 4, 5.0  # what passes sooner is nobody's concern


def _to_nobody(_what: str) -> None:
    """Nobody waits for this storage."""


class Retry:
    """Repeats calls that end in StorageFault, waiting longer each time, for a bounded time.

    Where one was given up and the storage answered nobody meanwhile, it is dead: until it answers
    again the others, under way or to come, have one try each. `tell` hears of it once, early."""

    def __init__(
        self,
        inner: Storage,
        clock: Clock,
        *,
        attempts: int = 8,
        most_seconds: float = 120.0,
        first_wait_seconds: float = 0.2,
        tell: Callable[[str], None] = _to_nobody,
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._tell = tell
        self._is_told = self._is_dead = False
        self._answered_seconds = -math.inf
        self._limit = stop_after_attempt(attempts) | stop_after_delay(most_seconds)
        self._retrying = Retrying(
            retry=retry_if_exception_type(StorageFault),
            stop=lambda state: self._is_dead or self._limit(state),
            wait=wait_random_exponential(multiplier=first_wait_seconds, max=20.0),
            before_sleep=self._worry,
            sleep=clock.sleep,
            reraise=True,
        )

    @property
    def where(self) -> str:
        return self._inner.where

    def again(self, call: Callable[[], _T]) -> _T:
        """For what a storage does beside the contract."""
        began_seconds = self._clock.monotonic_seconds()
        try:
            return self._retrying.copy()(lambda: self._heard(call))
        except StorageFault:
            self._is_dead |= self._answered_seconds < began_seconds
            raise

    def _heard(self, call: Callable[[], _T]) -> _T:
        """Whatever it answers, it is there."""
        is_fault = False
        try:
            return call()
        except StorageFault:
            is_fault = True
            raise
        finally:
            if not is_fault:
                self._answered_seconds = self._clock.monotonic_seconds()
                self._is_told = self._is_dead = False

    def _worry(self, state: RetryCallState) -> None:
        """Somebody may be sitting before this, or about to give up a sound run."""
        is_long = (state.seconds_since_start or 0) >= _PATIENT_SECONDS
        if self._is_told or not (is_long or state.attempt_number >= _PATIENT_ATTEMPTS):
            return
        self._is_told = True
        error = state.outcome.exception() if state.outcome else None
        why = error.what if isinstance(error, StorageFault) else str(error)
        self._tell(f"the storage does not answer, and is asked again for minutes: {why}")

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        """An answer that was lost after the work was done looks like "exists already" the second
        time; when the object is ours, that is success."""
        faults = 0

        def attempt() -> None:
            nonlocal faults
            try:
                self._inner.put(name, data, replace=replace)
            except StorageFault:
                faults += 1
                raise
            except AlreadyExists:
                if not faults or self._inner.get(name) != bytes(data):
                    raise

        self.again(attempt)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.again(lambda: self._inner.get(name, offset, length))

    def head(self, name: str) -> ObjectInfo:
        return self.again(lambda: self._inner.head(name))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """A listing that breaks off begins again, without the names that were given before."""
        found: Iterator[ObjectInfo] | None = None
        given: set[str] = set()

        def page() -> Sequence[ObjectInfo]:
            nonlocal found
            if found is None:
                found = (info for info in self._inner.list(prefix) if info.name not in given)
            try:
                return tuple(islice(found, _PAGE))
            except StorageFault:
                found = None
                raise

        while infos := self.again(page):
            given.update(info.name for info in infos)
            yield from infos

    def delete(self, name: str) -> None:
        self.again(lambda: self._inner.delete(name))

    def close(self) -> None:
        self._inner.close()
