"""A program that an engine runs: its last words, its time, and nothing of it left behind.

It gets a small environment, a process group of its own, and descriptors only where they are named.
What it says on standard error is kept (the last lines) and may be listened to line by line.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from drctl.engines.bound import bound, start
from drctl.signals import held_back

_PASSED_ON = ("PATH", "HOME", "LOGNAME", "USER")
_LAST_LINES = 20
_LINE_BYTES = 500
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.01
_ELSEWHERE = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin")

Listener = Callable[[str], None]
User = tuple[int, int]  # uid, gid


def find_program(*names: str) -> str | None:
    """The first of these that is there: in PATH, or where Debian puts servers."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_ELSEWHERE))
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


class Child:
    """One running program. Made by `running`, which sees to its end."""

    def __init__(self, process: "subprocess.Popen[bytes]", listener: Listener | None) -> None:
        self._process = process
        self._listener = listener
        self._words: deque[str] = deque(maxlen=_LAST_LINES)
        self._heard_until = 0.0
        self._failed: Exception | None = None  # the listener, with this
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, where a pipe was asked for."""
        assert self._process.stdout  # noqa: S101 - it was asked for
        return self._process.stdout

    @property
    def input(self) -> IO[bytes]:
        """Its standard input, where a pipe was asked for."""
        assert self._process.stdin  # noqa: S101 - it was asked for
        return self._process.stdin

    @property
    def words(self) -> str:
        """The last lines that it said: all that it said, once it has ended."""
        self._hear_out()
        return "\n".join(self._words).strip()

    @property
    def last_line(self) -> str:
        self._hear_out()
        return self._words[-1] if self._words else ""

    def _hear_out(self) -> None:
        """What one that has ended said last may still lie in the pipe. Who made itself a session of
        its own outlives it, and may hold the pipe open for ever: it is waited for once."""
        is_listener = threading.current_thread() is self._thread
        if self._process.returncode is not None and not is_listener:
            self._heard_until = self._heard_until or time.monotonic() + _GRACE_SECONDS
            self._thread.join(max(0.0, self._heard_until - time.monotonic()))

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        if self._process.returncode is None and self._look(os.WNOHANG):
            self._reap()
        return self._process.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Its exit status, once all its words were heard. Raises TimeoutError; and what its
        listener raised."""
        if self._process.returncode is None:
            if seconds is not None:
                self._wait_for(seconds)
            self._look(0)
            self._reap()
        self._hear_out()
        if self._failed:
            raise self._failed
        return self._process.wait()

    def _wait_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._look(os.WNOHANG):
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(_LOOK_SECONDS)

    def _look(self, how: int) -> bool:
        """Whether it has ended. It is not reaped yet: until then nobody else gets its number."""
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | how) is not None

    def _reap(self) -> None:
        """Take it, and what is left of its group, away."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stderr  # noqa: S101 - it was asked for
        for line in self._process.stderr:
            text = line[:_LINE_BYTES].decode("utf-8", "backslashreplace").rstrip()
            self._words.append(text)
            self._tell(text)

    def _tell(self, text: str) -> None:
        """Whatever a listener makes of it, the child is heard out: it would wait for a reader."""
        try:
            if self._listener and not self._failed:
                self._listener(text)
        except Exception as error:  # noqa: BLE001 - raised again where the child is waited for
            self._failed = error

    def end(self) -> None:
        """Nothing of it is left, whatever happened."""
        if self.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                self._wait_for(_GRACE_SECONDS)
            self._reap()
        self._hear_out()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe and not (pipe is self._process.stderr and self._thread.is_alive()):
                pipe.close()  # what is read from cannot be closed: see _hear_out

    def _signal(self, which: signal.Signals) -> None:
        """To the whole group: its children must not outlive it."""
        with suppress(ProcessLookupError, PermissionError):  # nobody is left, or to be reached
            os.killpg(self._process.pid, which)


@contextmanager
def running(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    cwd: str | None = None,
    user: User | None = None,
    listener: Listener | None = None,
    ends_with_us: bool = False,
    zone: str = "UTC",
) -> Iterator[Child]:
    """Run a program for as long as the block lasts. `listener` gets each line of its standard
    error, in a thread of its own. `ends_with_us`: also when drctl is killed; what has no pipe to us
    would go on then. `zone`: its TZ. Raises OSError when it cannot be run."""
    environment = {name: value for name, value in os.environ.items() if name in _PASSED_ON}

    def make() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            bound(argv) if ends_with_us else argv,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**environment, "LC_ALL": "C.UTF-8", "TZ": zone},
            pass_fds=pass_fds,
            start_new_session=True,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=() if user else None,
        )

    with held_back():
        child = Child(start(make) if ends_with_us else make(), listener)
    try:
        yield child
    finally:
        child.end()


def exit_words(status: int) -> str:
    """How a program ended, in words."""
    if status < 0:
        return f"was killed by {signal_name(-status)}"
    return f"failed with exit status {status}"


def signal_name(number: int) -> str:
    """Most real-time signals have no name."""
    known = {int(one): one.name for one in signal.Signals}
    return known.get(number, f"signal {number}")
