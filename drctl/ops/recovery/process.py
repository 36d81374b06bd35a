"""Programs that a recovery runs: with a time limit, their last words kept, nothing left of them."""

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from drctl.ops.recovery.runner import Control, Outcome
from drctl.signals import held_back

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")
_LAST_LINES = 20
_LINE_BYTES = 500
_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Programs:
    """How programs are run: `front` are words before each argv, `told` learns each process."""

    base: str
    variables: Mapping[str, str]
    front: Callable[[str], tuple[str, ...]] = lambda _: ()
    told: Callable[[int], None] = lambda _: None

    def run(self, words: tuple[str, ...], also: Mapping[str, str], control: Control) -> Outcome:
        """Exit status 0 is right. What it said last is told."""
        argv = (*self.front(self.base), _program(words[0], self.base), *words[1:])
        environment = {n: v for n, v in os.environ.items() if n in PASSED_ON}
        environment |= {**self.variables, **also}
        try:
            with held_back():
                process = _start(argv, self.base, environment)
        except OSError as error:
            return Outcome(ok=False, what=f"{words[0]}: cannot be run: {error.strerror}")
        self.told(process.pid)
        return _Run(process, control).outcome()


def _start(
    argv: tuple[str, ...], base: str, environment: dict[str, str]
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=base,
        env=environment,
        start_new_session=True,
    )


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
        self._words: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout  # noqa: S101 - it was asked for
        with self._process.stdout as output:
            for line in output:
                self._words.append(line[:_LINE_BYTES].rstrip(b"\n"))

    def outcome(self) -> Outcome:
        status = self._wait()
        if status is None:
            why = self._control.over()
            self._end()
            return Outcome(ok=False, what=f"{why} and was killed{self._said()}")
        self._listener.join(0.5)  # a server in the background keeps the pipe open
        if status:
            how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
            return Outcome(ok=False, what=f"{how}{self._said()}")
        return Outcome(ok=True, what="exit status 0", facts={"said": self._text()})

    def _wait(self) -> int | None:
        """Its exit status; None when it had to end before."""
        while not self._control.over():
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(_LOOK_SECONDS)
        return None

    def _end(self) -> None:
        for name in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, name)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        self._listener.join(0.5)

    def _text(self) -> str:
        return b"\n".join(list(self._words)).decode("utf-8", "backslashreplace").strip()

    def _said(self) -> str:
        last = self._text().splitlines()[-1:]
        return f"; it said: {last[0]}" if last else "; it said nothing"
