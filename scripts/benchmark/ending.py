"""What the benchmark starts ends with it, also when it is killed."""

import os
import pwd
import signal
import sys

_IF_STILL_THERE = 'test "$PPID" = "$0" && exec "$@"'  # it may have been killed before it was heard


def ending_with_us(argv: list[str], user: str = "") -> list[str]:
    """The same command, killed when this process ends; as another user, where one is given."""
    words = ["setpriv", "--pdeathsig", "KILL"]
    if user:
        group = pwd.getpwnam(user).pw_gid
        words += [f"--reuid={user}", f"--regid={group}", "--init-groups"]
    return [*words, "--", "sh", "-c", _IF_STILL_THERE, str(os.getpid()), *argv]


def end_when_told() -> None:
    """A termination unwinds as an interrupt does: servers are stopped, then the run ends."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
