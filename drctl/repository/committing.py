"""A run's last step: a snapshot is committed only when all that it needs is there and stays."""

from collections.abc import Mapping

from msgspec import Struct

from drctl.codec.documents import REFS_MAGIC, Manifest, Refs, decode_refs
from drctl.errors import NotFound, StorageError
from drctl.logpieces import in_order
from drctl.model import Snapshot
from drctl.repository import catalog, log, names, standins, trash
from drctl.repository.index import Index
from drctl.repository.repository import Repository
from drctl.repository.runs import Run
from drctl.repository.survey import Needs

_TRIES = 3


class Need(Struct, frozen=True):
    """What a snapshot needs: what its refs name and, where it is to be continued, its stream's log
    from a file on."""

    refs: str
    log_stream: str = ""
    log_first: str = ""


def need_of(manifest: Manifest) -> Need:
    """What it tells of itself."""
    facts = manifest.facts
    return Need(manifest.refs, facts.get("log_stream", ""), facts.get("log_first", ""))


def commit(repository: Repository, run: Run, manifest: Manifest) -> Snapshot:
    """Write the manifest, whose refs are there. Raises StorageError when the run was taken for dead
    meanwhile and something that it needs was removed: then there is no snapshot."""
    need = need_of(manifest)
    if repository.hold and need.log_stream:
        # What opens the log may be months old, and its own lock about to run out.
        pieces = log.listed(repository.storage, need.log_stream)
        repository.hold(log.needed(pieces, need.log_first))
    require(repository, run, need)
    snapshot = catalog.commit(repository, manifest)
    take_back_unless_whole(repository, run, {snapshot.name: need})
    return snapshot


def take_back_unless_whole(repository: Repository, run: Run, needs: Mapping[str, Need]) -> None:
    """Manifests that are there are taken back when what they need was removed after `require`: each
    of them, whatever becomes of the others. Raises StorageError then."""
    left = dict(needs)
    torn: StorageError | None = None
    for _ in range(_TRIES):
        if run.stands():
            break
        run.begin()
        for name in list(left):
            try:
                look_again(repository, run, left[name])
            except StorageError as error:
                repository.storage.delete(names.SNAPSHOTS + name)
                del left[name]
                torn = error
    else:
        for name in left:
            repository.storage.delete(names.SNAPSHOTS + name)
        raise _taken_for_dead(repository)
    if torn:
        raise torn


def require(repository: Repository, run: Run, need: Need) -> None:
    """What is needed is there, and nobody will delete it while the run's sign stands."""
    for _ in range(_TRIES):
        if run.stands():
            return
        run.begin()
        look_again(repository, run, need)
    raise _taken_for_dead(repository)


def _taken_for_dead(repository: Repository) -> StorageError:
    return StorageError(
        f"{repository.where}: this run was taken for dead {_TRIES} times",
        hint="prune with a longer grace period than a run may pause",
    )


def look_again(repository: Repository, run: Run, need: Need) -> None:
    """What is needed is there, and nobody is about to delete it. Raises StorageError."""
    going = trash.condemned(repository, reviving=run.reviving)
    index = repository.load_index(lambda _: None, only_present=True, condemned=going.ids)
    try:
        refs = decode_refs(repository.get_meta(names.REFS, REFS_MAGIC, need.refs))
    except NotFound:
        refs = None
    if (
        refs is None
        or _lacks(repository, run, refs, index)
        or need.refs in going.refs
        or _log_is_cut(repository, need, going.log)
    ):
        raise StorageError(
            f"{repository.where}: collection took away what this run relied on, since it paused so "
            "long that it was taken for dead",
            hint="run it again: there is no snapshot of it",
        )


def _lacks(repository: Repository, run: Run, refs: Refs, index: Index) -> bool:
    """Whether something that is needed is nowhere. What was lost long ago and stored anew serves
    whoever revives; a run that commits has all by its own names."""
    needs = Needs([refs])
    lost = needs.lost(index.segment_ids())
    if lost and run.reviving:
        lost -= standins.stood_in(repository, needs, index)
    return lost > 0


def _log_is_cut(repository: Repository, need: Need, going: frozenset[str]) -> bool:
    """Collection takes a log away from its beginning: so it was cut where later files are there and
    the first is not. Where none is there, the database has not handed it over yet."""
    if not need.log_first:
        return False
    pieces = log.listed(repository.storage, need.log_stream)
    first = in_order(need.log_first)
    later = [p for p in pieces if in_order(p.file) >= first and not p.file.endswith(".history")]
    has_first = any(p.file == need.log_first and p.name not in going for p in later)
    return bool(later) and not has_first
