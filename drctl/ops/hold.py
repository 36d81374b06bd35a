"""Hold a snapshot, so that no rule removes it."""

from drctl.clock import Clock
from drctl.errors import NotFound
from drctl.ops.undelete import undelete
from drctl.repository import holds, names
from drctl.repository.repository import Repository


def hold(repository: Repository, name: str, reason: str, at_ns: int, clock: Clock) -> bool:
    """By its whole name. A prune that is about to remove it either sees the hold, or has removed it
    when the hold is there: then it is brought back. Raises StorageError, UsageError."""
    holds.put(repository, name, reason, at_ns)
    try:
        repository.storage.head(names.SNAPSHOTS + name)
    except NotFound:
        undelete(repository, name, clock)
    return True
