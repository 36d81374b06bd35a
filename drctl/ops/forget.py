"""Take one snapshot out of a repository by name: a damaged one that nothing mends, and that keeps
every prune from telling what is needed, or one that should never have been made."""

from contextlib import suppress
from typing import Literal

from drctl.codec import documents
from drctl.errors import IntegrityError, NotFound, Unreadable, UsageError
from drctl.repository import catalog, holds, names, trash
from drctl.repository.repository import Repository

Forgotten = Literal["trashed", "damaged"]


def forget(repository: Repository, digest: str) -> Forgotten:
    """By its whole name. A sound one goes to the trash, as by a rule; what is damaged of another is
    set aside for the grace period. Raises UsageError when it is held, StorageError."""
    if digest in holds.load(repository):
        raise UsageError(
            f"{repository.where}: snapshot {digest[:8]} is held",
            hint=f"first 'drctl unhold {digest[:8]}'",
        )
    storage = repository.storage
    try:
        manifest = catalog.manifest(repository, digest)
    except IntegrityError:
        _set_aside(repository, names.SNAPSHOTS + digest)
        return "damaged"
    whole = _reads(repository, manifest.refs)
    trash.keep_copy(storage, digest)
    storage.delete(names.SNAPSHOTS + digest)
    if not whole:
        _set_aside(repository, names.REFS + manifest.refs)
    return "trashed" if whole else "damaged"


def _reads(repository: Repository, refs: str) -> bool:
    """Whether anybody can tell what it needs."""
    try:
        documents.decode_refs(repository.get_meta(names.REFS, documents.REFS_MAGIC, refs))
    except (IntegrityError, NotFound):
        return False
    return True


def _set_aside(repository: Repository, name: str) -> None:
    storage = repository.storage
    with suppress(Unreadable, NotFound):
        storage.put(names.DAMAGED + names.digest_of(name), storage.get(name), replace=True)
    with suppress(NotFound):
        storage.delete(name)
