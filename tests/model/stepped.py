"""Actors that share a storage and take turns at every single call to it, so that a test decides
which of them goes on, is left paused for days, or is killed, and between which two calls."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from drctl.errors import DrctlError, IntegrityError
from drctl.storage.base import Buffer, ObjectInfo, Storage


class Killed(BaseException):
    """What kill -9 is to a thread: nothing that it does from here on reaches the storage."""


class AtOnce(Executor):
    """A pool that does its work in the thread that asks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Killed:
            raise
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            done.set_exception(error)
        return done

    def map(self, fn: Callable[..., Any], *iterables: Iterable[Any], **_: Any) -> Iterator[Any]:
        return iter([fn(*items) for items in zip(*iterables, strict=False)])


class Actor:
    """Runs `work` in a thread that moves only inside `step`."""

    def __init__(self, name: str, work: Callable[["Actor"], None]) -> None:
        self.name = name
        self.error: BaseException | None = None
        self.is_done = False
        self._killed = False
        self._may_go = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[["Actor"], None]) -> None:
        self._may_go.acquire()
        try:
            if not self._killed:
                work(self)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self.is_done = True
        self._has_stopped.release()

    def pause(self) -> None:
        """In the actor's thread, before every call."""
        if self._killed:
            raise Killed
        self._has_stopped.release()
        self._may_go.acquire()
        if self._killed:
            raise Killed

    def step(self, calls: int = 1) -> None:
        """Let it make so many calls."""
        for _ in range(calls):
            if self.is_done:
                return
            self._may_go.release()
            self._has_stopped.acquire()

    def finish(self) -> None:
        while not self.is_done:
            self.step()

    def kill(self) -> None:
        """It makes no call any more, not even to tidy up."""
        self._killed = True
        while not self.is_done:
            self._may_go.release()
            self._has_stopped.acquire()
        self._thread.join()


def must_be_understood(actor: Actor) -> None:
    """It may have come too late, or be killed. It must not speak of damage: there is none."""
    understood = isinstance(actor.error, DrctlError | Killed | None)
    if not understood or isinstance(actor.error, IntegrityError):
        raise actor.error


class Stepped:
    """The storage as one actor sees it."""

    def __init__(self, inner: Storage, actor: Actor) -> None:
        self._inner = inner
        self._actor = actor

    @property
    def where(self) -> str:
        return self._inner.where

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._actor.pause()
        self._inner.put(name, data, replace=replace)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._actor.pause()
        return self._inner.get(name, offset, length)

    def head(self, name: str) -> ObjectInfo:
        self._actor.pause()
        return self._inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._actor.pause()
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._actor.pause()
        self._inner.delete(name)

    def close(self) -> None:
        self._inner.close()
