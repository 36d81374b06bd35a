"""One run of a command: its output, its time and its last words.

Whatever the command started may hold its output open when it has ended: a server in the
background, or a filter that has not printed all yet. Nobody can tell which, so it is waited for as
long as the command may take, and told; after that nothing that was read is taken for the whole.
"""

import os
import select
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Protocol

from drctl.errors import SourceError
from drctl.events import Notice, Reporter
from drctl.signals import held_back
from drctl.units import parse_duration

_PIECE_BYTES = 1 << 20
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")
_LAST_LINES = 20
_LINE_BYTES = 500
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.01
_SILENT_SECONDS = 3.0
_PATIENCE_SECONDS = 0.1
_MOST_HOLDERS = 3  # that are named
_IN_THE_PIPE = 1 << 20  # what it may hold when time is up


class Words(Protocol):
    """What the plan says of a command."""

    @property
    def run(self) -> tuple[str, ...]: ...

    @property
    def timeout(self) -> str: ...

    @property
    def env(self) -> tuple[str, ...]: ...


class Running:
    """The process, its time limit and its last words."""

    def __init__(self, settings: Words, asset: str, report: Reporter) -> None:
        self._report = report
        self._asset = asset
        self._settings = settings
        self._words: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._timed_out = False
        self._is_late = False  # what it left behind, not the command itself
        self._may_still_read = _IN_THE_PIPE
        self._silent_since = 0.0
        self._is_told = False
        self._reaping = threading.Lock()
        self._started: subprocess.Popen[bytes] | None = None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._timer = threading.Timer(parse_duration(settings.timeout), self._expire)
        self._timer.daemon = True

    def start(self, base: str) -> int:
        """Gives its number. Raises SourceError. Call `end` whatever happens."""
        with held_back():
            self._started = self._open(base)
            self._listener.start()
            self._timer.start()
        return self._process.pid

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        assert self._started  # noqa: S101 - only what was started is asked for
        return self._started

    def _open(self, base: str) -> "subprocess.Popen[bytes]":
        program = _program(self._settings.run[0], base)
        environment = {n: v for n, v in os.environ.items() if n in self._passed_on()}
        try:
            return subprocess.Popen(
                (program, *self._settings.run[1:]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=base,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise SourceError(
                f"{self._asset}: {self._settings.run[0]}: cannot be run: {error.strerror}",
                hint="is the path right, and is it executable?",
            ) from error

    def _passed_on(self) -> frozenset[str]:
        return frozenset((*_PASSED_ON, *self._settings.env))

    def read(self) -> bytes:
        """What there is, at most a piece; b"" at the end, or when time is up: see `conclude`."""
        assert self._process.stdout  # noqa: S101 - it was asked for
        pipe = self._process.stdout.fileno()
        look = select.poll()
        look.register(pipe, select.POLLIN)
        while not self._timed_out:
            if look.poll(_PATIENCE_SECONDS * 1000):
                self._silent_since = 0.0
                return self._within_time(os.read(pipe, _PIECE_BYTES))
            if self._is_late:
                self._timed_out = True
            elif self._has_ended():
                self._tell_who_holds_it(pipe)
        return b""

    def _within_time(self, piece: bytes) -> bytes:
        """The command may have ended in time and we be late; but what talks on is not heard out."""
        if self._is_late:
            self._may_still_read -= len(piece)
            self._timed_out = self._may_still_read < 0
        return piece

    def _tell_who_holds_it(self, pipe: int) -> None:
        """Once, when it is silent for a while after the command's end."""
        now = time.monotonic()
        self._silent_since = self._silent_since or now
        if not self._is_told and now - self._silent_since > _SILENT_SECONDS:
            self._is_told = True
            what = f"the command has ended, but its output is held open by {holders(pipe)}"
            what += f": waiting for it, {self._settings.timeout} at most"
            self._report.emit(Notice("warning", f"{self._asset}: {what}"))

    def _has_ended(self) -> bool:
        """It is not reaped yet: until then nobody else gets its number."""
        look = os.WEXITED | os.WNOWAIT | os.WNOHANG
        is_reaped = self._process.returncode is not None
        return is_reaped or os.waitid(os.P_PID, self._process.pid, look) is not None

    def _listen(self) -> None:
        assert self._process.stderr  # noqa: S101 - it was asked for
        rest = b""
        while piece := self._process.stderr.read(1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            self._words.extend(line[:_LINE_BYTES] for line in lines)
            rest = rest[:_LINE_BYTES]
        if rest:
            self._words.append(rest)

    def _expire(self) -> None:
        with self._reaping:
            self._is_late = self._has_ended()
        if not self._is_late:
            self._timed_out = True
            self._signal(signal.SIGKILL)

    def conclude(self) -> None:
        """The output has ended: how did the command? Raises SourceError."""
        held = self._held()
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        status = self._reap()
        self._listener.join(_GRACE_SECONDS)
        if self._timed_out and not self._is_late:
            raise self._error(f"did not end within {self._settings.timeout} and was killed")
        if status < 0:
            raise self._error(f"was killed by {signal.Signals(-status).name}")
        if status:
            raise self._error(f"failed with exit status {status}")
        if held:
            after = f"{self._settings.timeout} after its start"
            hint = "what it leaves running must write elsewhere: 'program >/dev/null 2>&1 &'"
            raise self._error(
                f"ended, but {after} its output was still held open by {held}: "
                "nobody knows whether that is all",
                hint,
            )

    def _held(self) -> str:
        """By whom the output is held open, when time is up and the command has ended."""
        if not (self._timed_out and self._is_late and self._process.stdout):
            return ""
        return holders(self._process.stdout.fileno())

    def _error(self, how: str, hint: str = "") -> SourceError:
        words = b"\n".join(self._words).decode("utf-8", "backslashreplace").strip()
        said = f"; it said:\n{words}" if words else "; it said nothing"
        return SourceError(
            f"{self._asset}: the command {how}{said}",
            hint=f"nothing was kept; {hint or f'run it by hand: {shlex.join(self._settings.run)}'}",
        )

    def end(self) -> None:
        """Nothing of the command is left, whatever happened."""
        if self._started is None:
            return
        self._timer.cancel()
        if self._started.returncode is None:
            self._signal(signal.SIGTERM)
            self._wait_a_while()
            self._reap()
        if self._started.stdout:
            self._started.stdout.close()
        if self._started.stderr and not self._listener.is_alive():  # else somebody still holds it
            self._started.stderr.close()

    def _wait_a_while(self) -> None:
        """For it to end by itself."""
        end = time.monotonic() + _GRACE_SECONDS
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)

    def _reap(self) -> int:
        """Take it and what is left of its group away. Gives its status."""
        self._signal(signal.SIGKILL)
        with self._reaping:
            return self._process.wait()

    def _signal(self, which: signal.Signals) -> None:
        """To the whole group: a command's children must not outlive it."""
        with self._reaping, suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, which)


def _program(name: str, base: str) -> str:
    """A name without `/` is looked up in PATH; a relative path is relative to the plan."""
    if "/" in name:
        return os.path.join(base, name)
    return shutil.which(name) or name


def holders(pipe: int) -> str:
    """Who else has this end's other end open: names and processes, as far as they may be seen."""
    name = os.readlink(f"/proc/self/fd/{pipe}")
    others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]
    found = [f"{_called(p)} (process {p})" for p in others if _has_open(p, name)]
    more = len(found) - _MOST_HOLDERS
    named = ", ".join(found[:_MOST_HOLDERS]) + (f" and {more} more" if more > 0 else "")
    return named or "what it started"


def _has_open(pid: str, name: str) -> bool:
    with suppress(OSError):  # it has ended, or is not ours
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{descriptor}") == name:
                    return True
    return False


def _called(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
            return file.read().strip()
    except OSError:
        return "a program"
