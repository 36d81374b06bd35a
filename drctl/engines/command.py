"""A command: what it prints is the asset. For whatever can be dumped by a program of your own.

The command runs without a shell, in a process group of its own, with a small environment. Only exit
status 0 makes a snapshot; whatever else happens, nothing is kept and its last words are told.
"""

import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from drctl.engines.base import Engine, Health, PlainItem, Surroundings
from drctl.engines.single import SingleTarget
from drctl.engines.values import Period
from drctl.errors import SourceError, TargetRefused, UsageError
from drctl.events import Notice
from drctl.model import Entry, Kind
from drctl.private import variables
from drctl.signals import held_back
from drctl.started import Started
from drctl.units import parse_duration, parse_size

_PIECE_BYTES = 1 << 20
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")
_LAST_LINES = 20
_LINE_BYTES = 500
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.01


class Settings(BaseModel):
    """What the plan says under `command`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: tuple[str, ...] = Field(min_length=1, description="Program and arguments; no shell.")
    timeout: Period = Field(default="1h", description="How long it may take, such as 10m.")
    name: str = Field(default="output", description="The name of the entry in the snapshot.")
    min_size: str = Field(default="1", description="Fewer bytes than this is a failure.")
    env: Annotated[tuple[str, ...], AfterValidator(variables)] = Field(
        default=(), description="Variables that the command also gets."
    )

    @field_validator("min_size")
    @classmethod
    def _min_size(cls, text: str) -> str:
        parse_size(text)
        return text

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not name or "/" in name or name in {".", ".."}:
            raise ValueError("a name is one component of a path, such as ledger.csv")
        return name


class Source:
    """Runs the command and reads what it prints; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        started_ns = self._around.clock.now_ns()
        running = _Running(self._settings, self._asset)
        started = Started(self._around.scratch, f"{self._asset}.command")
        try:
            if started.end():
                what = "a backup was killed before; the command that it ran is ended now"
                self._around.report.emit(Notice("warning", f"{self._asset}: {what}"))
            started.keep(running.start(self._around.base))
            yield _Capture(running, self._settings, self._asset, started_ns)
        finally:
            running.end()
            started.forget()


class _Capture:
    """One run of the command; its start is the consistent point."""

    def __init__(
        self, running: "_Running", settings: Settings, asset: str, started_ns: int
    ) -> None:
        self._running = running
        self._settings = settings
        self._asset = asset
        self.consistent_at_ns = started_ns
        self.facts: dict[str, str] = {}
        self.private_facts = {"run": shlex.join(settings.run)}

    def items(self) -> Iterator[PlainItem]:
        """The one entry. When the consumer asks for the next, the command has proven itself."""
        name = os.fsencode(self._settings.name)
        stream = _Output(self._running, _entry(name, self.consistent_at_ns))
        yield PlainItem(stream.entry, _Content(stream))
        self._conclude(stream.entry.size)

    def _conclude(self, size_bytes: int) -> None:
        self._running.conclude()
        least = parse_size(self._settings.min_size)
        if size_bytes < least:
            raise SourceError(
                f"{self._asset}: the command printed {size_bytes} bytes, at least {least} are due",
                hint="run it by hand and look; 'min_size' in the plan sets the least",
            )


def _entry(name: bytes, now_ns: int) -> Entry:
    return Entry(name, int(Kind.FILE), 0o600, os.geteuid(), os.getegid(), now_ns)


class _Content:
    """Always streamed: nobody knows how long it is."""

    size_hint = -1
    block_bytes = 0

    def __init__(self, stream: "_Output") -> None:
        self._stream = stream

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        data = b"".join(self._stream)
        return self._stream.entry, data

    def stream(self, entry: Entry) -> "_Output":
        return self._stream


class _Output:
    """The command's standard output in pieces; see engines.base.Stream."""

    def __init__(self, running: "_Running", entry: Entry) -> None:
        self._running = running
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        while piece := self._running.read():
            size += len(piece)
            yield piece
        self.entry = replace(self.entry, size=size)


class _Running:
    """The process, its time limit and its last words."""

    def __init__(self, settings: Settings, asset: str) -> None:
        self._asset = asset
        self._settings = settings
        self._words: deque[bytes] = deque(maxlen=_LAST_LINES)
        self._timed_out = False
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
        """What there is, at most a piece; b"" at the end."""
        assert self._process.stdout  # noqa: S101 - it was asked for
        return self._process.stdout.read(_PIECE_BYTES) or b""

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
        self._timed_out = True
        self._signal(signal.SIGKILL)

    def conclude(self) -> None:
        """The output has ended: how did the command? Raises SourceError."""
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        status = self._reap()
        self._listener.join(_GRACE_SECONDS)
        if self._timed_out:
            raise self._error(f"did not end within {self._settings.timeout} and was killed")
        if status < 0:
            raise self._error(f"was killed by {signal.Signals(-status).name}")
        if status:
            raise self._error(f"failed with exit status {status}")

    def _error(self, how: str) -> SourceError:
        words = b"\n".join(self._words).decode("utf-8", "backslashreplace").strip()
        said = f"; it said:\n{words}" if words else "; it said nothing"
        return SourceError(
            f"{self._asset}: the command {how}{said}",
            hint=f"nothing was kept; run it by hand: {shlex.join(self._settings.run)}",
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
        for pipe in (self._started.stdout, self._started.stderr):
            if pipe:
                pipe.close()

    def _wait_a_while(self) -> None:
        """For it to end by itself. It is not reaped yet: until then nobody else gets its number."""
        look = os.WEXITED | os.WNOWAIT | os.WNOHANG
        end = time.monotonic() + _GRACE_SECONDS
        while not os.waitid(os.P_PID, self._process.pid, look) and time.monotonic() < end:
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


def target(
    _: Settings | None, to: str, _facts: dict[str, str], _around: Surroundings
) -> SingleTarget:
    """Restores the output as the file, or into the directory, `to`."""
    return SingleTarget(to)


class Probe:
    """The output is up when it is there; see engines.base.Probe and Standing."""

    def __init__(self, settings: Settings, at: str, _around: Surroundings) -> None:
        self._path = os.path.join(at, settings.name) if os.path.isdir(at) else at

    @contextmanager
    def open(self) -> Iterator["Probe"]:
        if not os.path.isfile(self._path):
            raise TargetRefused(f"{self._path} is not there")
        yield self

    def health(self) -> Health:
        size = os.path.getsize(self._path)
        return Health(size > 0, f"{size} bytes")

    def counts(self) -> dict[str, int]:
        return {"bytes": os.path.getsize(self._path)}

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        raise UsageError("a command's output answers no SQL")

    def newest_mark_ns(self) -> int | None:
        return None

    def interrupt(self) -> None:
        pass  # all that can be asked ends by itself


ENGINE = Engine("command", Settings, Source, target, Probe)
