"""The standard streams, as cron, pipes and full disks leave them.

That nobody hears what drctl says must never keep it from saving what matters.
"""

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NoReturn, TextIO

from drctl.errors import StorageError
from drctl.units import show_text

# What they say is all that they do, and their exit code does not tell it.
_SAYING = frozenset({"snapshots", "ls", "diff", "schema"})


class Unfailing:
    """Standard error: what cannot be written is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """What cannot be written out is dropped."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def settle() -> None:
    """Give each closed stream a place that takes everything: the next file to be opened would
    get its number, and be written into."""
    opened = os.open(os.devnull, os.O_RDWR)
    while opened <= 2:
        os.set_inheritable(opened, True)
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = Unfailing(sys.stderr or os.fdopen(2, "w"))


def leave(code: int) -> NoReturn:
    """End at once. Taking the interpreter down piece by piece takes up to a tenth of a run, and
    threads that still wait for something would meet it half gone."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # results were written out where they were told
            stream.flush()
    os._exit(code)


def say(text: str, command: str = "") -> None:
    """Write a result to standard output. Whoever reads it may have had enough, which is no failure;
    nor is an output that was closed, but where the result is all that the command makes. Raises
    StorageError when it cannot be written."""
    say_lines((text,), command)


def say_lines(lines: Iterable[str], command: str) -> None:
    """The same, of more than is made at once; whoever had enough ends the making, too."""
    if command in _SAYING and sys.stdout.name == 1:  # `settle` opened it anew
        raise StorageError(
            "the result cannot be written to standard output: it is closed",
            hint="give it a file, or a terminal",
        )
    if all(_is_written(f"{show_text(line)}\n") for line in lines):
        _is_written("")


def _is_written(text: str) -> bool:
    """False: nobody reads it any more. Without text: to the last of it."""
    try:
        sys.stdout.write(text)
        if not text:
            sys.stdout.flush()
    except OSError as error:
        _abandon()
        if error.errno != errno.EPIPE:
            raise StorageError(
                f"the result cannot be written to standard output: {error.strerror}",
                hint="the work itself was done; 'drctl snapshots' lists what there is",
            ) from error
        return False
    return True


def _abandon() -> None:
    """What is still held for standard output goes nowhere, also when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
