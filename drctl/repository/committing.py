"""A run's last step: a snapshot is committed only when all that it needs is there and stays."""

from drctl.codec.documents import REFS_MAGIC, Manifest, decode_refs
from drctl.errors import NotFound, StorageError
from drctl.model import Snapshot
from drctl.repository import catalog, names, trash
from drctl.repository.repository import Repository
from drctl.repository.runs import Run
from drctl.repository.survey import Needs

_TRIES = 3


def commit(repository: Repository, run: Run, manifest: Manifest) -> Snapshot:
    """Write the manifest, whose refs are there. Raises StorageError when the run was taken for dead
    meanwhile and something that it needs was removed: then there is no snapshot."""
    require(repository, run, manifest.refs)
    snapshot = catalog.commit(repository, manifest)
    take_back_unless_whole(repository, run, snapshot.name, manifest.refs)
    return snapshot


def take_back_unless_whole(repository: Repository, run: Run, name: str, refs: str) -> None:
    """A manifest that is there is taken back when what it needs was removed after `require`."""
    try:
        require(repository, run, refs)
    except StorageError:
        repository.storage.delete(names.SNAPSHOTS + name)
        raise


def require(repository: Repository, run: Run, refs: str) -> None:
    """What refs name is there, and nobody will delete it while the run's sign stands."""
    for _ in range(_TRIES):
        if run.stands():
            return
        run.begin()
        look_again(repository, run, refs)
    raise StorageError(
        f"{repository.where}: this run was taken for dead {_TRIES} times",
        hint="prune with a longer grace period than a run may pause",
    )


def look_again(repository: Repository, run: Run, digest: str) -> None:
    """What refs name is there, and nobody is about to delete it. Raises StorageError."""
    going = trash.condemned(repository, reviving=run.reviving)
    index = repository.load_index(lambda _: None, only_present=True, condemned=going.ids)
    try:
        refs = decode_refs(repository.get_meta(names.REFS, REFS_MAGIC, digest))
    except NotFound:
        refs = None
    if refs is None or Needs([refs]).lost(index.segment_ids()) or digest in going.refs:
        raise StorageError(
            f"{repository.where}: collection took away what this run relied on, since it paused so "
            "long that it was taken for dead",
            hint="run it again: there is no snapshot of it",
        )
