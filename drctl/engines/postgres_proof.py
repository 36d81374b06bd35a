"""Windows of relation files, read and proven by a process of its own.

Proving a page is many short calls of numpy. In our process each of them would hand the interpreter
to and from the threads that compress, which costs more than the sums. So a second process reads
windows into memory that both share, proves their pages, and says which are wrong. What it proved is
what is stored: it stays where it lies until the last view of it is gone.
"""

import ctypes
import mmap
import os
import socket
import sys
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress

from msgspec import Struct

from drctl.engines.child import Child, exit_words, running
from drctl.engines.postgres_prover import (
    ANSWER,
    ANSWER_MOST_BYTES,
    PLACE_BYTES,
    REQUEST,
    WINDOW,
    WRONG,
    rounded,
)
from drctl.engines.tree_look import reason
from drctl.errors import SourceError

Buffer = bytes | memoryview
Wrong = tuple[int, int]  # a page's place in its window (0, 1, ...), the LSN that it claims to be of

ASKED_MOST = 4  # times that windows are asked for and not taken
_PLACES = 4 * ASKED_MOST  # where there is no more room, what is taken is copied out
_SERVE = (
    "import os, sys; sys.path[:] = sys.argv[2:]; "
    "from drctl.engines.postgres_prover import serve; serve(int(sys.argv[1])); "
    "os._exit(0)"  # it leaves nothing to put away, and putting numpy away is waited for
)
_Lot = ctypes.c_char * PLACE_BYTES


class Window(Struct, frozen=True):
    """A part of an open file. `first`: the number of its first page in its relation."""

    descriptor: int
    offset: int
    length: int
    first: int


class PageReader:
    """One thread asks, and takes in the same order. Made by `page_reader`."""

    def __init__(self, child: Child, asked: socket.socket, shared: mmap.mmap) -> None:
        self._child = child
        self._asked = asked
        self._shared = shared
        self._free = list(range(0, len(shared), PLACE_BYTES))
        self._waiting: deque[tuple[int, int, Sequence[Window]]] = deque()

    def ask(self, windows: Sequence[Window], page: int) -> None:
        """For windows that together, in whole pages of so many bytes, take at most PLACE_BYTES, and
        are at most WINDOWS_MOST; at most ASKED_MOST times before `take`. Raises SourceError."""
        place = self._free.pop()  # the last one to be free: it is in the processor's cache
        told = [WINDOW.pack(window.offset, window.length, window.first) for window in windows]
        request = b"".join((REQUEST.pack(page, place), *told))
        try:
            socket.send_fds(self._asked, [request], [window.descriptor for window in windows])
        except ConnectionError as error:
            raise self._gone() from error
        # Only now: who is interrupted waits for no answer.
        self._waiting.append((place, page, windows))

    def take(self) -> list[tuple[Buffer, list[Wrong]]]:
        """What was asked for first: each window, shorter where its file ends, and those of its
        pages that are wrong, read twice. Raises OSError as reading does, SourceError."""
        place, page, windows = self._waiting.popleft()
        answer = b""
        with suppress(ConnectionError):
            answer = self._asked.recv(ANSWER_MOST_BYTES)
        if not answer:
            raise self._gone()
        error, count = ANSWER.unpack_from(answer)
        if error:
            self._free.append(place)
            raise OSError(error, os.strerror(error))
        end = ANSWER.size + 4 * count
        lengths = memoryview(answer)[ANSWER.size : end].cast("I")
        wrong: list[list[Wrong]] = [[] for _ in windows]
        for window, at, lsn in WRONG.iter_unpack(answer[end:]):
            wrong[window].append((at, lsn))
        return list(zip(self._windows(place, page, windows, lengths), wrong, strict=True))

    def _windows(
        self, place: int, page: int, windows: Sequence[Window], lengths: Sequence[int]
    ) -> Iterator[Buffer]:
        lot, at = self._lot(place), 0
        for window, length in zip(windows, lengths, strict=True):
            yield lot[at : at + length]
            at += rounded(window.length, page)

    def _lot(self, place: int) -> Buffer:
        """It is read into anew only once nobody looks at it any more."""
        if len(self._free) < ASKED_MOST:
            self._free.append(place)
            return self._shared[place : place + PLACE_BYTES]
        lot = _Lot.from_buffer(self._shared, place)
        weakref.finalize(lot, self._free.append, place)
        return memoryview(lot).cast("B")

    def _gone(self) -> SourceError:
        how = exit_words(self._child.wait())
        what = ": ".join(filter(None, (how, self._child.last_line)))
        return SourceError(
            f"the process that proves pages {what}",
            hint="nothing was kept, and earlier snapshots stay; is this machine short of memory?",
        )


@contextmanager
def page_reader() -> Iterator[PageReader]:
    """It starts while the caller goes on. Raises SourceError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as stack:
        stack.callback(ours.close)  # then it ends by itself
        try:
            with theirs, _memory() as memory:
                shared = mmap.mmap(memory, 0)
                child = stack.enter_context(_serving(theirs, memory))
        except OSError as error:
            raise SourceError(f"pages cannot be proven: {reason(error)}") from error
        yield PageReader(child, ours, shared)
        ours.close()
        child.wait()


@contextmanager
def _memory() -> Iterator[int]:
    memory = os.memfd_create("drctl-pages")
    try:
        os.ftruncate(memory, _PLACES * PLACE_BYTES)
        yield memory
    finally:
        os.close(memory)


def _serving(theirs: socket.socket, memory: int) -> AbstractContextManager[Child]:
    argv = [sys.executable, "-I", "-S", "-c", _SERVE, str(memory), *sys.path]
    return running(argv, stdin=theirs.fileno(), pass_fds=[memory])
