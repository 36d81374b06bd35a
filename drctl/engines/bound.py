"""Programs that end with drctl, also where it is killed and cannot end them: the kernel does.

The kernel counts by the thread that started a program, so one thread that lives as long as drctl
starts them all. `setpriv` of util-linux says it to the kernel, and becomes the program. Where it is
not there the program is run all the same. Of a drctl that was killed before it was said the kernel
tells nothing any more, so a shell in between looks whether drctl is still there.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_GATE = ("/bin/sh", "-c", 'test "$PPID" = "$1" && shift && exec "$@"', "sh")
_starter = ThreadPoolExecutor(1, "drctl-starter")


def bound(argv: Sequence[str], how: signal.Signals = signal.SIGKILL) -> list[str]:
    """The words that run a program so that it does not outlive the thread that starts it. `how`:
    what the kernel sends it then; one with children of its own is to be given time to end them."""
    found = shutil.which("setpriv")
    if not found:
        return [*argv]
    signal_name = how.name.removeprefix("SIG")
    return [found, "--pdeathsig", signal_name, "--", *_GATE, str(os.getpid()), *argv]


def start(make: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """In the thread that lives as long as drctl. Raises what `make` raises."""
    return _starter.submit(make).result()


def begin(
    argv: Sequence[str], how: signal.Signals = signal.SIGKILL, **words: Any
) -> "subprocess.Popen[bytes]":
    """Both at once, for a program with nothing special about it. `words`: for Popen."""
    return start(lambda: subprocess.Popen(bound(argv, how), **words))
