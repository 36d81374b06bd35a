"""Asks a distant storage at once for what its reader will want first, one thing after the other.

What was asked early is given once; whoever asks again asks the storage.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from drctl.storage.base import Buffer, ObjectInfo, Storage

_T = TypeVar("_T")


class Early:
    """A storage that was asked for these objects and listings when this was made."""

    def __init__(self, inner: Storage, names: Iterable[str], folders: Iterable[str]) -> None:
        def get(name: str) -> Callable[[], bytes]:
            return lambda: inner.get(name)

        def listing(folder: str) -> Callable[[], list[ObjectInfo]]:
            return lambda: list(inner.list(folder))

        self._inner = inner
        self._objects = {name: _begun(get(name)) for name in names}
        self._listings = {folder: _begun(listing(folder)) for folder in folders}

    @property
    def where(self) -> str:
        return self._inner.where

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._objects.pop(name, None)
        self._listings.clear()
        self._inner.put(name, data, replace=replace)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        is_whole = not offset and length is None
        early = self._objects.pop(name, None) if is_whole else None
        return early.result() if early else self._inner.get(name, offset, length)

    def head(self, name: str) -> ObjectInfo:
        return self._inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        early = self._listings.pop(prefix, None)
        yield from early.result() if early else self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._objects.pop(name, None)
        self._listings.clear()
        self._inner.delete(name)

    def close(self) -> None:
        self._inner.close()


def _begun(call: Callable[[], _T]) -> "Future[_T]":
    """In a thread that keeps no process from ending: a storage that does not answer is tried for
    minutes, and who has enough of that must be able to leave."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - told to whoever asks for the result
            future.set_exception(error)

    threading.Thread(target=run, name="drctl-early", daemon=True).start()
    return future
