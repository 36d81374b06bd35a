"""A storage that fails on purpose, at a chosen call: for tests, and for trying an installation."""

import threading
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TypeVar

from drctl.errors import StorageError, StorageFault
from drctl.storage.base import Buffer, ObjectInfo, Storage

_T = TypeVar("_T")
_LATE_SECONDS = 0.02  # longer than any other call in memory takes


class Fault(Enum):
    """What happens at the chosen call."""

    FAIL = "fails before doing anything, for good"
    FAIL_ONCE = "fails before doing anything, once"
    LOSE_ANSWER = "does the work, then fails"
    TRUNCATE = "gives, or stores, half of the bytes; a listing breaks off in the middle"
    FLIP = "gives, or stores, the bytes with one bit wrong"
    DELAY = "does the work late, after calls that were made later"


class Faulty:
    """Counts calls from 0; call number `at` has the fault, and with FAIL so have all after it.
    `seen` is how many calls there were."""

    def __init__(self, inner: Storage, fault: Fault, at: int) -> None:
        self._inner = inner
        self._fault = fault
        self._at = at
        self._lock = threading.Lock()
        self._never = threading.Event()
        self.seen = 0

    @property
    def where(self) -> str:
        return self._inner.where

    def _is_chosen(self) -> bool:
        with self._lock:
            self.seen += 1
            mine = self.seen - 1
        return mine >= self._at if self._fault is Fault.FAIL else mine == self._at

    def _around(self, doing: str, work: Callable[[], _T], spoilt: Callable[[], _T]) -> _T:
        """The work, or at the chosen call what becomes of it."""
        if not self._is_chosen():
            return work()
        if self._fault is Fault.FAIL:
            raise StorageError(f"{self.where}: {doing} failed as it was told to")
        if self._fault is Fault.FAIL_ONCE:
            raise StorageFault(f"{self.where}: {doing} failed as it was told to, this once")
        if self._fault is Fault.DELAY:
            self._never.wait(_LATE_SECONDS)
        found = spoilt()
        if self._fault is Fault.LOSE_ANSWER:
            raise StorageFault(f"{self.where}: the answer to {doing} was lost as it was told to")
        return found

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        def write(written: Buffer) -> None:
            self._inner.put(name, written, replace=replace)

        self._around(f"put {name}", lambda: write(data), lambda: write(self._spoilt(bytes(data))))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        def read() -> bytes:
            return self._inner.get(name, offset, length)

        return self._around(f"get {name}", read, lambda: self._spoilt(read()))

    def head(self, name: str) -> ObjectInfo:
        def look() -> ObjectInfo:
            return self._inner.head(name)

        return self._around(f"head {name}", look, look)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Fails when it is asked for the first name, as a real listing does."""
        listing = self._inner.list(prefix)
        yield from self._around(f"list {prefix}", lambda: listing, lambda: self._broken(listing))

    def delete(self, name: str) -> None:
        def remove() -> None:
            self._inner.delete(name)

        self._around(f"delete {name}", remove, remove)

    def close(self) -> None:
        self._inner.close()

    def _spoilt(self, data: bytes) -> bytes:
        middle = len(data) // 2
        if self._fault is Fault.TRUNCATE:
            return data[:middle]
        if self._fault is Fault.FLIP and data:
            return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data

    def _broken(self, listing: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        if self._fault is not Fault.TRUNCATE:
            yield from listing
            return
        infos = tuple(listing)
        yield from infos[: len(infos) // 2]
        raise StorageFault(f"{self.where}: the listing broke off as it was told to")
