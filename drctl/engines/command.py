"""A command: what it prints is the asset. For whatever can be dumped by a program of your own.

The command runs without a shell, in a process group of its own, with a small environment. Only exit
status 0 makes a snapshot; whatever else happens, nothing is kept and its last words are told.
"""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from msgspec.structs import replace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from drctl.engines.base import Engine, Health, PlainItem, Surroundings
from drctl.engines.command_run import Running
from drctl.engines.single import SingleTarget
from drctl.engines.values import Period
from drctl.errors import SourceError, TargetRefused, UsageError
from drctl.events import Notice
from drctl.model import Entry, Kind
from drctl.private import variables
from drctl.started import Started
from drctl.units import parse_size


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
        running = Running(self._settings, self._asset, self._around.report)
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

    def __init__(self, running: "Running", settings: Settings, asset: str, started_ns: int) -> None:
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

    def __init__(self, running: "Running", entry: Entry) -> None:
        self._running = running
        self.entry = entry

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        while piece := self._running.read():
            size += len(piece)
            yield piece
        self.entry = replace(self.entry, size=size)


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
