"""Programs that a recovery runs: with a time limit, their last words kept, nothing left of them.

A program begins only once whoever is told of it knows its process: until then it waits behind a
gate, a shell that reads a line and becomes the program. A drctl that is killed before it wrote down
what it started leaves nothing behind: the gate sees the end of its input, and ends.
"""

import errno
import hashlib
import os
import select
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO

from msgspec import Struct

from drctl.engines.child import signal_name
from drctl.ops.recovery.runner import Control, Outcome
from drctl.signals import held_back

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")
_LAST_LINES = 20
_LINE_BYTES = 500
_PIPE_BYTES = 1 << 16  # what a pipe holds
_MOST_PIECES = 16  # and what one holds at most, where root allows more
_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 5.0
_MOST_PROGRAM_BYTES = 16 << 20
_GATE = ("/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "sh")


class Programs(Struct, frozen=True):
    """How programs are run: `front` are words before each argv, `told` learns each process.
    `barred`: why none may be run at all."""

    base: str
    variables: Mapping[str, str]
    front: Callable[[str], tuple[str, ...]] = lambda _: ()
    told: Callable[[int], None] = lambda _: None
    barred: str = ""

    __repr__ = object.__repr__  # no error shows the variables

    def run(self, words: tuple[str, ...], also: Mapping[str, str], control: Control) -> Outcome:
        """Exit status 0 is right. What it said last is told."""
        if self.barred:
            return Outcome(ok=False, what=f"{words[0]}: not run: {self.barred}", final=True)
        front, program = self.front(self.base), _program(words[0], self.base)
        why = "" if front else _why_not(program)
        if why:
            return Outcome(ok=False, what=f"{words[0]}: cannot be run: {why}")
        environment = {n: v for n, v in os.environ.items() if n in PASSED_ON}
        environment |= {**self.variables, **also}
        process = _start((*front, program, *words[1:]), self.base, environment)
        assert process.stdin  # noqa: S101 - it was asked for
        with suppress(BrokenPipeError), process.stdin:
            self.told(process.pid)
            process.stdin.write(b"\n")
        return _Run(process, control).outcome()

    def files(self, words: tuple[str, ...]) -> dict[str, str]:
        """SHA-256 of each file among these words, as it is now: a plan says how a program is
        called, and not what it does. One of the system, that PATH finds, is no file of the plan's,
        and what is large is data."""
        if self.barred:
            return {}
        first = words[:1] if "/" in words[0] else ()
        found = {word: _digest(os.path.join(self.base, word)) for word in (*first, *words[1:])}
        return {word: digest for word, digest in found.items() if digest}


def _digest(path: str) -> str:
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MOST_PROGRAM_BYTES:
            return ""
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""  # whoever runs it is told why that does not go


def _start(
    argv: tuple[str, ...], base: str, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    """Behind the gate: a line lets it begin, the end of its input ends it."""
    with held_back():
        return subprocess.Popen(
            (*_GATE, *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=base,
            env=environment,
            start_new_session=True,
        )


def _why_not(program: str) -> str:
    """Why it cannot be run, before only a shell would tell; empty where it can."""
    if shutil.which(program):
        return ""
    return os.strerror(errno.EACCES if os.path.exists(program) else errno.ENOENT)


def _program(name: str, base: str) -> str:
    """A name without `/` is looked up in PATH; a relative path is relative to the plan."""
    if "/" in name:
        return os.path.join(base, name)
    return shutil.which(name) or name


class _Run:
    """One process. A program that starts a server in the background has ended when it has: what
    it left behind in its group stays until the run's own end."""

    def __init__(self, process: "subprocess.Popen[bytes]", control: Control) -> None:
        self._process = process
        self._control = control
        self._heard = b""
        assert process.stdout  # noqa: S101 - it was asked for
        self._pipe = process.stdout
        self._open = True
        os.set_blocking(self._pipe.fileno(), False)

    def outcome(self) -> Outcome:
        try:
            return self._outcome()
        finally:
            self._let_go()

    def _outcome(self) -> Outcome:
        status = self._wait()
        if status is None:
            why = self._control.over()
            self._end()
            return Outcome(ok=False, what=f"{why} and was killed{self._said()}")
        if status:
            how = f"exit status {status}" if status > 0 else signal_name(-status)
            return Outcome(ok=False, what=f"{how}{self._said()}")
        return Outcome(ok=True, what="exit status 0", facts={"said": self._text()})

    def _wait(self) -> int | None:
        """Its exit status; None when it had to end before."""
        while not self._control.over():
            self._listen(_LOOK_SECONDS)
            status = self._process.poll()
            if status is not None:
                self._hear_out()
                return status
        return None

    def _listen(self, seconds: float) -> None:
        """Hear what it says; no longer than this when it says nothing."""
        if not self._open:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return
        look = select.poll()
        look.register(self._pipe, select.POLLIN)
        if look.poll(seconds * 1000):
            self._hear()

    def _hear(self) -> bool:
        """Take what lies in the pipe. False: nothing does."""
        try:
            said = os.read(self._pipe.fileno(), _PIPE_BYTES)
        except BlockingIOError:
            return False
        self._open = bool(said)
        self._heard = (self._heard + said)[-_PIPE_BYTES:]
        return self._open

    def _hear_out(self) -> None:
        """Whatever a program that has ended said lies in the pipe, also where a server that it
        left in the background holds the pipe open and goes on talking."""
        for _ in range(_MOST_PIECES):
            if not self._open or not self._hear():
                return

    def _let_go(self) -> None:
        """What runs on in the background must not die of a pipe that nobody reads."""
        if not self._open:
            self._pipe.close()
            return
        os.set_blocking(self._pipe.fileno(), True)
        threading.Thread(target=_read_away, args=(self._pipe,), daemon=True).start()

    def _end(self) -> None:
        for name in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, name)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        self._hear_out()

    def _text(self) -> str:
        lines = self._heard.rstrip(b"\n").split(b"\n")[-_LAST_LINES:]
        kept = b"\n".join([line[:_LINE_BYTES] for line in lines])
        return kept.decode("utf-8", "backslashreplace").strip()

    def _said(self) -> str:
        last = self._text().splitlines()[-1:]
        return f"; it said: {last[0]}" if last else "; it said nothing"


def _read_away(pipe: IO[bytes]) -> None:
    with pipe:
        while os.read(pipe.fileno(), _PIPE_BYTES):
            pass
