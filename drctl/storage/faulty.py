"""A storage that fails on purpose, at a chosen call: for tests, and for trying an installation."""

import threading
from collections.abc import Callable, Iterator
from enum import Enum

from drctl.errors import StorageError, StorageFault
from drctl.storage.base import Buffer, ObjectInfo, Storage


class Fault(Enum):
    """What happens at the chosen call."""

    FAIL = "fails before doing anything, for good"
    FAIL_ONCE = "fails before doing anything, once"
    LOSE_ANSWER = "does the work, then fails"
    TRUNCATE = "gives only half of the bytes"
    FLIP = "gives the bytes with one bit wrong"


class Faulty:
    """Counts calls from 0; call number `at` has the fault. `seen` is how many there were."""

    def __init__(self, inner: Storage, fault: Fault, at: int) -> None:
        self._inner = inner
        self._fault = fault
        self._at = at
        self._lock = threading.Lock()
        self.seen = 0

    @property
    def where(self) -> str:
        return self._inner.where

    def _is_chosen(self) -> bool:
        with self._lock:
            self.seen += 1
            return self.seen - 1 == self._at

    def _around(self, doing: str, work: Callable[[], bytes | ObjectInfo | None]) -> object:
        if not self._is_chosen():
            return work()
        if self._fault is Fault.FAIL:
            raise StorageError(f"{self.where}: {doing} failed as it was told to")
        if self._fault is Fault.FAIL_ONCE:
            raise StorageFault(f"{self.where}: {doing} failed as it was told to, this once")
        found = work()
        if self._fault is Fault.LOSE_ANSWER:
            raise StorageFault(f"{self.where}: the answer to {doing} was lost as it was told to")
        return _spoilt(found, self._fault)

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._around("put", lambda: self._inner.put(name, data, replace=replace))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        found = self._around("get", lambda: self._inner.get(name, offset, length))
        assert isinstance(found, bytes)  # noqa: S101 - what a get gives
        return found

    def head(self, name: str) -> ObjectInfo:
        found = self._around("head", lambda: self._inner.head(name))
        assert isinstance(found, ObjectInfo)  # noqa: S101 - what a head gives
        return found

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._around("list", lambda: None)
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._around("delete", lambda: self._inner.delete(name))

    def close(self) -> None:
        self._inner.close()


def _spoilt(found: object, fault: Fault) -> object:
    if not isinstance(found, bytes) or not found:
        return found
    if fault is Fault.TRUNCATE:
        return found[: len(found) // 2]
    middle = len(found) // 2
    return found[:middle] + bytes([found[middle] ^ 1]) + found[middle + 1 :]
