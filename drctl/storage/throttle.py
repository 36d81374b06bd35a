"""A pace that is kept: so many bytes a second, whoever moves them."""

import threading
from collections.abc import Iterator

from drctl.clock import Clock
from drctl.storage.base import Buffer, ObjectInfo, Storage


class Pace:
    """Bytes a second, shared by all threads that move bytes. Time that nobody used is not saved
    up, so after a pause there is no burst."""

    def __init__(self, bytes_per_second: float, clock: Clock) -> None:
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock.monotonic_seconds()

    def take(self, size: int) -> None:
        """Wait until so many bytes have had their time."""
        with self._lock:
            now = self._clock.monotonic_seconds()
            self._free_at = max(self._free_at, now) + size / self._bytes_per_second
            wait_seconds = self._free_at - now
        if wait_seconds > 0:
            self._clock.sleep(wait_seconds)


class Throttle:
    """Writes, or reads, no faster than its pace; everything else passes."""

    def __init__(
        self, inner: Storage, *, write: Pace | None = None, read: Pace | None = None
    ) -> None:
        self._inner = inner
        self._write = write
        self._read = read

    @property
    def where(self) -> str:
        return self._inner.where

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        if self._write:
            self._write.take(len(data))
        self._inner.put(name, data, replace=replace)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """How long an object is shows when it has come: the next one waits for it."""
        data = self._inner.get(name, offset, length)
        if self._read:
            self._read.take(len(data))
        return data

    def head(self, name: str) -> ObjectInfo:
        return self._inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

    def close(self) -> None:
        self._inner.close()
