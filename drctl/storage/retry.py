"""Try again what may pass. The only place that does."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from tenacity import (
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


class Retry:
    """Repeats calls that end in StorageFault, waiting longer each time, for a bounded time."""

    def __init__(
        self,
        inner: Storage,
        clock: Clock,
        *,
        attempts: int = 8,
        most_seconds: float = 120.0,
        first_wait_seconds: float = 0.2,
    ) -> None:
        self._inner = inner
        self._retrying = Retrying(
            retry=retry_if_exception_type(StorageFault),
            stop=stop_after_attempt(attempts) | stop_after_delay(most_seconds),
            wait=wait_random_exponential(multiplier=first_wait_seconds, max=20.0),
            sleep=clock.sleep,
            reraise=True,
        )

    @property
    def where(self) -> str:
        return self._inner.where

    def again(self, call: Callable[[], _T]) -> _T:
        """For what a storage does beside the contract."""
        return self._retrying.copy()(call)

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
