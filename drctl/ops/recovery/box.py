"""The private place of one drill, and its end: nothing of a drill is left behind.

A drill's directory holds a lock for as long as its drctl lives. Whoever finds one without it knows
that its drill was killed, and takes it away, with the servers and programs that still run in it.
"""

import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from drctl.clock import Randomness
from drctl.errors import TargetRefused
from drctl.private import make_directory
from drctl.removing import remove_all

_LOCK = "drill.lock"
_PREFIX = "drill-"
_NAME = re.compile(_PREFIX + "[0-9a-f]{12}")
HOME = "drills"  # below the state directory, where the plan names no other place
_LOOK_SECONDS = 0.05
_GRACE_SECONDS = 10.0


class Box:
    """A directory of a drill's own. Call `remove` whatever happens."""

    def __init__(self, home: str, randomness: Randomness) -> None:
        """Raises TargetRefused when it cannot be made."""
        self.path = os.path.join(os.path.realpath(home), _PREFIX + randomness(6).hex())
        try:
            make_directory(self.path)
            self._lock = _locked(self.path, os.O_CREAT)
            for part in ("target", "empty", "run"):
                make_directory(self.at(part))
            self._let_servers_pass()
        except OSError as error:
            raise TargetRefused(
                f"{self.path}: a drill needs a directory of its own: {error.strerror}",
                hint="make room or rights there, or name another with 'directory' in the drill",
            ) from error

    def _let_servers_pass(self) -> None:
        """Root starts a database server as the user that it belongs to, who must get to its files:
        may pass through to them, and not look around. A directory that the plan names is the
        plan's: what lies above it stays as it is."""
        if os.geteuid() != 0:
            return
        home = os.path.dirname(self.path)
        above = [os.path.dirname(home)] if os.path.basename(home) == HOME else []
        for path in (*above, home, self.path, self.at("target"), self.at("empty")):
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_IXOTH)

    def at(self, *parts: str) -> str:
        return os.path.join(self.path, *parts)

    def remove(self) -> tuple[str, ...]:
        """Take everything away. What is left nevertheless is told, a sentence each."""
        left = remove_tree(self.path)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        return left


def _locked(path: str, more: int = 0) -> int | None:
    """Raises BlockingIOError while a living drill holds it, another OSError where no lock is."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | more
    descriptor = os.open(os.path.join(path, _LOCK), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def sweep(home: str, told: Callable[[str], None]) -> None:
    """Remove what is left of drills that were killed, or could not take everything away. What
    bears a like name and holds no drill's lock is somebody else's: the plan may say `directory:
    /srv`."""
    try:
        names = [name for name in os.listdir(home) if _NAME.fullmatch(name)]
    except OSError:
        return  # there was never a drill here
    for name in names:
        path = os.path.join(os.path.realpath(home), name)
        try:
            lock = _locked(path)
        except OSError:
            continue  # it is alive, or somebody else's
        left = remove_tree(path)
        if lock is not None:
            os.close(lock)
        is_left = f"is still there: {'; '.join(left)}"
        told(f"{path}: what a drill left there {is_left if left else 'is removed'}")


def remove_tree(path: str) -> tuple[str, ...]:
    """End what runs in a drill's directory and remove it. Tells what withstood. The lock goes last:
    it tells whoever finds the rest of a removal that was killed what it is."""
    running = [f"process {pid} still runs in it" for pid in end_all(path)]
    left = tuple(filter(None, map(remove_all, _folders(path))))
    return (*running, *left) or tuple(filter(None, [remove_all(path)]))


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as found:
            return [entry.path for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []  # whoever removes it tells why


def end_all(path: str) -> list[int]:
    """End every process that works in a directory, was started with its name, or was told it.
    Gives those that withstood."""
    end = time.monotonic() + _GRACE_SECONDS
    number = signal.SIGTERM
    while running := list(processes_in(path)):
        for pid in running:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if time.monotonic() > end:
            return running
        time.sleep(_LOOK_SECONDS)
        number = signal.SIGKILL if time.monotonic() > end - _GRACE_SECONDS / 2 else number
    return []


def processes_in(path: str) -> Iterator[int]:
    """Their numbers. Neither this process nor those above it."""
    ours = _line_of(os.getpid())
    mark = os.fsencode(path)
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in ours and _is_in(name, mark):
            yield int(name)


def _line_of(pid: int) -> set[int]:
    """A process and those above it."""
    found = set()
    while pid > 1:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            break
    return found


def _is_in(pid: str, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] == b"Z":
                return False  # it has ended, and waits for its parent to notice
        if os.readlink(b"/proc/%s/cwd" % pid.encode()).startswith(mark):
            return True
        for part in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{part}", "rb") as file:
                if mark in file.read():
                    return True
    except OSError:
        return False  # it has gone, or is not ours to look at
    return False


def must_be_apart(box: str, production: dict[str, str]) -> None:
    """A drill's directory is nothing of production's, nor above it. Raises TargetRefused."""
    for name, path in production.items():
        real = os.path.realpath(path)
        if real == box or real.startswith(box + "/"):
            raise TargetRefused(f"{box}: {name} lies in it: a drill never touches production")
