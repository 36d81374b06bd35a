"""The journal of a run: a line an event, on the disk before anything follows from it.

Each line is JSON with a checksum in front. A line that was cut off by a crash is cut away by
whoever writes next; a damaged line before others is an IntegrityError. Whoever runs the steps holds
a lock for as long as it lives; others may add an answer, or say that it is to stop.
"""

import fcntl
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from zlib import crc32

from drctl.clock import Clock
from drctl.durable import sync_directory
from drctl.errors import Busy, IntegrityError, StorageError
from drctl.private import make_directory

_FILE, _LOCK = "journal", "running"
_FLOCK = struct.Struct("hhqqi0q")  # the kernel's: type, whence, start, length, process
_WHOLE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
Event = dict[str, Any]


class Journal:
    """The journal in a run's directory. Raises StorageError when it cannot be written."""

    def __init__(
        self, directory: str, clock: Clock, then: str = "'drctl recover --resume' goes on"
    ) -> None:
        """`then`: what helps once it can be written again."""
        self._then = then
        self.directory = directory
        self._path = os.path.join(directory, _FILE)
        self._clock = clock

    def exists(self) -> bool:
        return os.path.exists(self._path)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the run. Raises Busy while another drctl carries it out."""
        self._make()
        descriptor = os.open(
            os.path.join(self.directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Busy(
                f"{self.directory}: another drctl carries this run out",
                hint="see it with 'drctl recover --watch'",
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def is_running(self) -> bool:
        """Whether a living drctl carries the run out. Only asked, so that whoever watches keeps
        nobody from going on."""
        try:
            descriptor = os.open(os.path.join(self.directory, _LOCK), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            found = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _WHOLE)
        finally:
            os.close(descriptor)
        return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event; it is on the disk when this returns."""
        made = {"event": event, "at_ns": self._clock.now_ns(), **fields}
        try:
            self._make()
            self._write(_encode(made))
        except OSError as error:
            raise StorageError(
                f"{self._path}: the journal cannot be written: {error.strerror}",
                hint=f"make room or rights there; then {self._then}",
            ) from error
        return made

    def _make(self) -> None:
        make_directory(self.directory)

    def _write(self, line: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        is_new = not self.exists()
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.ftruncate(descriptor, _whole_bytes(_read_all(descriptor)))
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            sync_directory(self.directory)

    def events(self) -> list[Event]:
        """Every whole event so far. Raises IntegrityError."""
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        lines = data[: _whole_bytes(data)].splitlines()
        return [self._decode(number, line) for number, line in enumerate(lines, 1)]

    def _decode(self, number: int, line: bytes) -> Event:
        event = _decode(line)
        if event is None:
            raise IntegrityError(
                f"{self._path}: line {number} is damaged",
                hint="see what was done with 'drctl recover --watch', and begin a new run",
            )
        return event


def _encode(event: Event) -> bytes:
    text = json.dumps(event, separators=(",", ":"), ensure_ascii=True).encode()
    return b"%08x %s\n" % (crc32(text), text)


def _decode(line: bytes) -> Event | None:
    text = line[9:]
    if line[:9] != b"%08x " % crc32(text):
        return None
    found: Event = json.loads(text)
    return found


def _whole_bytes(data: bytes) -> int:
    """How much of a journal is whole: a last line without its end, or one that was torn, is not."""
    end = data.rfind(b"\n") + 1
    last = data[:end].splitlines()[-1:]
    if last and _decode(last[0]) is None:
        return end - len(last[0]) - 1
    return end


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
