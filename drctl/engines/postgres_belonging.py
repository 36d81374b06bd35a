"""What a restore takes of a log that may not be the one of the snapshot's history.

A snapshot of an older drctl names the log of its server whatever is in it; see postgres_kin.
"""

import os
from collections.abc import Iterable

from drctl.engines import postgres_kin as kin
from drctl.engines import postgres_layout as layout
from drctl.engines import postgres_recovery as recovery
from drctl.engines.base import Log, Surroundings
from drctl.engines.log_read import files_of
from drctl.engines.postgres_wal import Base
from drctl.errors import IntegrityError, StorageError, TargetRefused
from drctl.events import Notice
from drctl.logpieces import LogFile


def histories(around: Surroundings) -> list[LogFile]:
    """Of all timelines: by these a server takes one that nobody had, also where it goes on along
    none of them. That they cannot be read is no reason not to have the snapshot alone."""
    log = around.log
    if log is None:
        return []
    try:
        kept = [f for name, f in files_of(log).items() if layout.HISTORY.fullmatch(name)]
        for file in kept:
            recovery.assemble(log, file, 0)
    except (StorageError, IntegrityError) as error:
        what = f"{error.what}: the server may take a timeline that another one had before"
        around.report.emit(Notice("warning", f"{what}: let its asset have another name then"))
        return []
    return kept


def another(log: Log, own: Iterable[LogFile], base: Base, folder: str) -> str:
    """What speaks against replaying the log over a snapshot whose WAL lies in `folder`; empty:
    nothing. `own`: what is stored of that."""

    def read(file: str, offset: int, size: int) -> bytes:
        try:
            with open(os.path.join(folder, file), "rb") as segment:
                segment.seek(offset)
                return segment.read(size)
        except OSError:
            return b""

    most = max((base.reached + 1) * base.segment_bytes, base.end)
    apart = kin.read_apart(log, own, kin.Reach(most, base.segment_bytes), read)
    what = f"the log has other WAL in {apart} than the snapshot: it is of another history"
    return f"{what}, as of the server before it was set back" if apart else ""


def refused(what: str) -> TargetRefused:
    """Where more than the snapshot was asked for."""
    return TargetRefused(
        f"{what}: nothing of it is replayed, and no server starts from what was restored",
        hint="'--until immediate' brings the snapshot alone; an older one, by its id, may be of "
        "the log's history",
    )
