"""Who a process is, for the drctl that comes after the one that started it and was killed.

A number alone is used again by the next process; with the instant at which it began, and the boot
that this was in, it is nobody else's.
"""

import os
import signal
from contextlib import suppress

from drctl.private import replace


def born(pid: int) -> str:
    """When a process began, in the kernel's ticks: with its number, who it is. Empty: gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return words[19] if words[0] != "Z" else ""  # one that has ended, and waits to be noticed


class Started:
    """The process group of one program, remembered in a file for as long as it may run. Only
    whoever holds the lock of what it is run for may ask. A file that cannot be written is no
    reason to run nothing."""

    def __init__(self, directory: str, name: str) -> None:
        self._path = os.path.join(directory, f"{name}.pid")

    def keep(self, pid: int) -> None:
        """It runs, and leads a group of its own."""
        with suppress(OSError):
            replace(self._path, f"{pid} {born(pid)} {_boot()}\n")

    def forget(self) -> None:
        """Nothing of it is left."""
        with suppress(OSError):
            os.unlink(self._path)

    def end(self) -> bool:
        """End what a killed run left, with its group. Whether there was anything."""
        try:
            with open(self._path, encoding="utf-8", errors="replace") as file:
                number, since, boot = file.read().split()
            pid = int(number)
        except (OSError, ValueError):
            return False  # nothing was left, or the file was cut short by a full disk
        if born(pid) != since or boot != _boot():
            return False
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        return True


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()
