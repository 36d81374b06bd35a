"""The threads that work for a run's one thread of decisions."""

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

_M_ARENA_MAX, _ARENAS = -8, 2  # of glibc's malloc.h
_GRACE_SECONDS = 2.0
_BEHIND = 5  # steps of niceness: a third of the share of whoever wants the same processor


def pool(*, behind: bool = False) -> ThreadPoolExecutor:
    """The one pool of a run: the processors compress in it, and transfers wait in it.

    `behind`: its threads let others have the processor first. So the thread that reads is never
    kept waiting by what it has already given away, and production feels less of a backup.
    """
    _share_memory()
    threads = max(4, (os.cpu_count() or 1) + 2)
    return ThreadPoolExecutor(threads, "drctl", _step_back if behind else None)


@contextmanager
def pool_of_its_own() -> Iterator[ThreadPoolExecutor]:
    """One for the block alone. Whoever breaks the block off waits for nothing that was not begun,
    and a moment only for what is under way."""
    made = pool()
    try:
        yield made
    except BaseException:
        end(made, hurried=True)
        raise
    end(made)


class Turns(Executor):
    """Tasks that compute, in a pool that has more threads than there are processors, for those
    that wait: `most` at a time, as many as there are processors, or two, for one may wait for a
    disk. More of them take each other's caches and hand the interpreter around: of a restore of
    small files that was a sixth of the time."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self.most = self._free = max(2, len(os.sched_getaffinity(0)))
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            is_free = self._free > 0
            self._free -= is_free
        if is_free:
            self._pool.submit(self._work)
        return future

    def _work(self) -> None:
        while task := self._next():
            future, work = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(error)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._free += 1
            return None


def end(pool: ThreadPoolExecutor, *, hurried: bool = False) -> None:
    """Without what was not begun. `hurried`: what is under way has a moment to end."""
    ending = threading.Thread(target=pool.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    ending.start()
    ending.join(_GRACE_SECONDS if hurried else None)


def _share_memory() -> None:
    """Left alone, glibc gives almost every thread memory of its own, and what one thread frees no
    other gets: a quarter of what a run holds. Threads that take a MiB at a time never wait for
    each other there."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def _step_back() -> None:
    """Of this thread alone, which Linux allows. Steps back from where the run was put by nice."""
    thread = threading.get_native_id()
    nice = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, min(19, nice + _BEHIND))
