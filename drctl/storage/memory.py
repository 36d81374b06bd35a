"""A storage in memory, for tests and for trying things out."""

import threading
from collections.abc import Iterator

from drctl.clock import Clock, SystemClock
from drctl.errors import AlreadyExists, NotFound, Unreadable
from drctl.storage.base import Buffer, ObjectInfo


class Memory:
    """Holds objects in a dictionary."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        return "memory"

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        with self._lock:
            if name in self._objects and not replace:
                raise AlreadyExists(name, self.where)
            self._objects[name] = (bytes(data), self._clock.now_ns())

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        data = self._held(name)[0]
        end = len(data) if length is None else offset + length
        if not 0 <= offset <= end <= len(data):
            raise Unreadable(f"{self.where}: {name} ends at {len(data)}, before byte {end}")
        return data[offset:end]

    def head(self, name: str) -> ObjectInfo:
        data, modified_ns = self._held(name)
        return ObjectInfo(name, len(data), modified_ns)

    def _held(self, name: str) -> tuple[bytes, int]:
        try:
            return self._objects[name]
        except KeyError as error:
            raise NotFound(name, self.where) from error

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            held = sorted(self._objects.items())
        for name, (data, modified_ns) in held:
            if name.startswith(prefix):
                yield ObjectInfo(name, len(data), modified_ns)

    def delete(self, name: str) -> None:
        with self._lock:
            self._objects.pop(name, None)

    def close(self) -> None:
        """Nothing to give back."""
