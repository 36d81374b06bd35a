"""Counts what goes through a storage."""

import threading
from collections import Counter
from collections.abc import Iterator

from drctl.storage.base import Buffer, ObjectInfo, Storage


class Meter:
    """`calls` by method, `sent_bytes` and `received_bytes` so far."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.sent_bytes = 0
        self.received_bytes = 0

    @property
    def where(self) -> str:
        return self._inner.where

    def _count(self, method: str, sent_bytes: int = 0, received_bytes: int = 0) -> None:
        with self._lock:
            self.calls[method] += 1
            self.sent_bytes += sent_bytes
            self.received_bytes += received_bytes

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._inner.put(name, data, replace=replace)
        self._count("put", sent_bytes=len(data))

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._inner.get(name, offset, length)
        self._count("get", received_bytes=len(data))
        return data

    def head(self, name: str) -> ObjectInfo:
        self._count("head")
        return self._inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._count("list")
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._inner.delete(name)
        self._count("delete")

    def close(self) -> None:
        self._inner.close()
