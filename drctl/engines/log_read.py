"""Reading a log that somebody else is writing meanwhile."""

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from drctl.engines.base import Log
from drctl.errors import IntegrityError
from drctl.logpieces import LogFile, by_file

_T = TypeVar("_T")


def files_of(log: Log) -> dict[str, LogFile]:
    """Every file of it. A part that went while it was listed looks like a hole: then the piece that
    covers it is there."""
    files = by_file(log.pieces())
    return by_file(log.pieces()) if any(file.is_torn for file in files.values()) else files


def as_it_is(log: Log, file: LogFile, read: Callable[[LogFile], _T]) -> tuple[LogFile, _T]:
    """What `read` makes of a file, and the pieces that it was made of. Parts that were listed go
    when a whole piece covers them, and then that one is read. Raises IntegrityError."""
    try:
        return file, read(file)
    except IntegrityError:
        now = by_file(log.pieces()).get(file.file)
        now = now and replace(now, cut=file.cut)
        if now is None or now.pieces == file.pieces or now.size < file.size:
            raise
        return now, read(now)
