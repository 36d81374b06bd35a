"""A directory for binlogs beside a data directory, on the same disk, while they are replayed.

It is nobody's data directory. Who works in it holds its lock, which goes with the process: so what
a killed restore left is told from what another restore is at, and cleared.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from drctl.engines.tree_look import reason
from drctl.errors import TargetRefused
from drctl.removing import remove_all


def _name(datadir: str) -> str:
    return f"{datadir}.drctl-binlogs"


@contextmanager
def beside(datadir: str) -> Iterator[str]:
    """Raises TargetRefused."""
    folder = _name(datadir)
    clear(datadir)
    try:
        os.mkdir(folder, mode=0o700)
        descriptor = _locked(folder)
    except OSError as error:
        raise TargetRefused(
            f"{folder}: {reason(error)}", hint="binlogs are replayed from there: see to it"
        ) from error
    try:
        yield folder
    finally:
        remove_all(folder)
        os.close(descriptor)


def clear(datadir: str) -> None:
    """Take away what a restore left that was killed; what another one is at stays."""
    folder = _name(datadir)
    with suppress(OSError):
        descriptor = _locked(folder)
        try:
            remove_all(folder)
        finally:
            os.close(descriptor)


def _locked(folder: str) -> int:
    """Raises OSError: it is no directory, or somebody holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
