"""What can go wrong, and what each kind of failure means to the caller.

DrctlError
 +-- UsageError        2   the command line makes no sense
 +-- PlanError         3   the plan does not read, or asks for what cannot be
 |    +-- NoPlan           there is none
 +-- SourceError       4   the thing to protect could not be read whole
 +-- StorageError      5   a repository's storage failed
 |    +-- NotFound         the object is not there
 |    +-- AlreadyExists    the object is there, and was not to be replaced
 |    +-- Unreadable       the object is there, but not these bytes of it
 |    +-- StorageFault     a passing fault: trying again may help
 +-- IntegrityError    6   bytes are not what was written
 +-- KeyUnavailable    7   a key is missing, locked or not the right one
 |    +-- WrongPassphrase  another try may help
 +-- Busy              8   another run holds what this one needs
 +-- TargetRefused     9   restoring there would destroy something
 +-- Interrupted     130   a signal ended the run

Exit codes 10 (objective missed) and 11 (partial) are results, not errors; they are in ExitCode.
An error says what happened and where; its hint says what a tired person can do next.
"""

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The one table of exit codes. docs/cli.md shows it; a test compares the two."""

    DONE = 0
    BUG = 1
    USAGE = 2
    PLAN = 3
    SOURCE = 4
    STORAGE = 5
    INTEGRITY = 6
    KEY = 7
    BUSY = 8
    TARGET_REFUSED = 9
    OBJECTIVE_MISSED = 10
    PARTIAL = 11
    INTERRUPTED = 130


class DrctlError(Exception):
    """Any failure that drctl understands. `what` is one sentence; `hint` is what to do."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class UsageError(DrctlError):
    exit_code = ExitCode.USAGE


class PlanError(DrctlError):
    """`problems` holds every mistake found, one line each, as `plan.yaml:12:5: ...`."""

    exit_code = ExitCode.PLAN

    def __init__(self, what: str, *, problems: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.problems = problems


class NoPlan(PlanError):
    """None was named, and none lies where one is looked for."""


class SourceError(DrctlError):
    exit_code = ExitCode.SOURCE


class StorageError(DrctlError):
    exit_code = ExitCode.STORAGE


class NotFound(StorageError):
    """`name` is the object's name in its storage."""

    def __init__(self, name: str, where: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: no object {name}", hint=hint)
        self.name = name


class AlreadyExists(StorageError):
    """`name` is the object's name in its storage."""

    def __init__(self, name: str, where: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: object {name} exists already", hint=hint)
        self.name = name


class Unreadable(StorageError):
    """An object that is shorter than what was asked for, or whose medium reports errors. Asking
    again does not help, and other objects may well be sound."""


class StorageFault(StorageError):
    """A fault that may pass: a time-out, a reset connection, a 503. Only this is retried."""


class IntegrityError(DrctlError):
    exit_code = ExitCode.INTEGRITY


class KeyUnavailable(DrctlError):
    exit_code = ExitCode.KEY


class WrongPassphrase(KeyUnavailable):
    """Another try may help."""


class Busy(DrctlError):
    exit_code = ExitCode.BUSY


class TargetRefused(DrctlError):
    exit_code = ExitCode.TARGET_REFUSED


class Interrupted(DrctlError):
    exit_code = ExitCode.INTERRUPTED
