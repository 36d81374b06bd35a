"""Opened segments, kept for a while and opened once however many threads ask."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future


class SegmentCache:
    """Opened segments, the least recently used dropped first; each opened by one thread."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._lock = threading.Lock()
        self._futures: OrderedDict[int, Future[bytes]] = OrderedDict()

    def claim(
        self, ordinals: Sequence[int]
    ) -> tuple[dict[int, "Future[bytes]"], dict[int, "Future[bytes]"]]:
        """(all asked for, those among them that the caller must now open)."""
        asked: dict[int, Future[bytes]] = {}
        mine: dict[int, Future[bytes]] = {}
        with self._lock:
            for ordinal in ordinals:
                if ordinal in self._futures:
                    self._futures.move_to_end(ordinal)
                else:
                    self._futures[ordinal] = mine[ordinal] = Future()
                asked[ordinal] = self._futures[ordinal]
        return asked, mine

    def absent(self, ordinals: Iterable[int]) -> list[int]:
        """Those that nobody has opened or is opening."""
        with self._lock:
            return [ordinal for ordinal in ordinals if ordinal not in self._futures]

    def done(self, ordinal: int, future: "Future[bytes]", plain: bytes) -> None:
        future.set_result(plain)
        with self._lock:
            self._held_bytes += len(plain)
            while self._held_bytes > self._most_bytes and self._drop_oldest(ordinal):
                pass

    def _drop_oldest(self, keep: int) -> bool:
        for ordinal, future in self._futures.items():
            if ordinal != keep and future.done():
                self._held_bytes -= len(future.result())
                del self._futures[ordinal]
                return True
        return False

    def fail(self, mine: dict[int, "Future[bytes]"], error: BaseException) -> None:
        """Those who wait learn of it; who asks later tries again."""
        with self._lock:
            for ordinal, future in mine.items():
                if not future.done():
                    self._futures.pop(ordinal, None)
                    future.set_exception(error)
