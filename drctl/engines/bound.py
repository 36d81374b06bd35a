"""Programs that end with drctl, also where it is killed and cannot end them: the kernel does.

The kernel counts by the thread that started a program, so one thread that lives as long as drctl
starts them all. `setpriv` of util-linux says it to the kernel, and becomes the program. Where it is
not there the program is run all the same.
"""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

_starter = ThreadPoolExecutor(1, "drctl-starter")


def bound(argv: Sequence[str]) -> list[str]:
    """The words that run a program so that it does not outlive the thread that starts it."""
    found = shutil.which("setpriv")
    return [found, "--pdeathsig", "KILL", "--", *argv] if found else list(argv)


def start(make: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """In the thread that lives as long as drctl. Raises what `make` raises."""
    return _starter.submit(make).result()
