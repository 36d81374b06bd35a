"""Bring a removed snapshot back, as long as nothing of it is being deleted."""

from concurrent.futures import Executor

from drctl.clock import Clock
from drctl.errors import NotFound, StorageError, UsageError
from drctl.model import Snapshot
from drctl.repository import catalog, holds, names, runs, trash
from drctl.repository.committing import Need, look_again, take_back_unless_whole
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule, judge


def undelete(repository: Repository, digest: str, clock: Clock) -> Snapshot:
    """By its whole name. Its data is marked, so no sweep may begin meanwhile: see docs/format.md.
    Raises UsageError when it is not in the trash, StorageError when it is too late."""
    storage = repository.storage
    with runs.running(storage, repository.randomness, clock, reviving=True) as run:
        if digest in trash.held_back(trash.seen(repository)):
            raise StorageError(
                f"{repository.where}: snapshot {digest[:8]} is being deleted: it is too late",
                hint="another repository of the plan may hold it: give --from",
            )
        try:
            manifest = catalog.manifest(repository, digest, names.TRASHED)
        except NotFound as error:
            raise UsageError(
                f"{repository.where}: snapshot {digest[:8]} was not removed"
            ) from error
        need = Need(manifest.refs)  # without its log it is worth having, too
        look_again(repository, run, need)
        trash.put_back(storage, digest)
        take_back_unless_whole(repository, run, {digest: need})
        storage.delete(names.TRASHED + digest)
    return catalog.snapshot(digest, manifest)


def goes_again(repository: Repository, digest: str, rule: Rule | None, pool: Executor) -> bool:
    """Whether the next prune will remove it as it did before. Raises StorageError."""
    found = catalog.load(repository, pool).snapshots
    verdicts = judge(found, rule, holds.load(repository, pool))
    return any(v.snapshot.name == digest and not v.stays for v in verdicts)
