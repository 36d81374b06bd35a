"""What a base backup copies to us over the wire, as the archives that it is made of."""

from collections.abc import Iterator
from typing import Any

PIECE_BYTES = 1 << 20


class Feed:
    """The data of one archive after the other, as tarfile reads it."""

    def __init__(self, messages: Iterator[Any]) -> None:
        self._messages = messages
        self._next: bytes | None = None  # what begins the next archive
        self._ended = False
        self._held: list[memoryview] = []
        self._held_bytes = 0

    def begun(self) -> bytes | None:
        """The next archive's name, NUL, its path; a lone NUL for the manifest; None at the end."""
        self.skip()
        found, self._next = self._next, None
        return found

    def read(self, size: int) -> bytes:
        """Fewer bytes than asked for only at the archive's end."""
        while self._held_bytes < size and self._next is None and not self._ended:
            self._pull()
        data = b"".join(self._held)
        self._held = [memoryview(data)[size:]] if len(data) > size else []
        self._held_bytes = max(0, len(data) - size)
        return data[:size]

    def _pull(self) -> None:
        data = next(self._messages, None)
        kind = bytes(data[:1]) if data is not None else b""
        if data is None:
            self._ended = True
        elif kind == b"d":
            self._held.append(memoryview(data)[1:])
            self._held_bytes += len(data) - 1
        elif kind in {b"n", b"m"}:  # of the kinds left, `p` tells progress
            self._next = bytes(data[1:]) or b"\0"

    def rest(self) -> bytes:
        """All that is left of this archive."""
        return b"".join(iter(lambda: self.read(PIECE_BYTES), b""))

    def skip(self) -> None:
        """To the end of this archive."""
        while self.read(PIECE_BYTES):
            pass
