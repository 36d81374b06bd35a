"""Whether the newest of each asset, and its log, could still be opened: by what was listed anyway,
and one small object for each asset. `verify` looks at everything."""

from collections.abc import Collection, Iterator
from concurrent.futures import Executor

from drctl.codec import documents
from drctl.errors import IntegrityError, NotFound
from drctl.model import Snapshot
from drctl.repository import names
from drctl.repository.catalog import Catalog
from drctl.repository.log import session_of
from drctl.repository.repository import Repository
from drctl.storage.base import is_there


def lost_sessions(
    repository: Repository, found: Catalog, listed: Collection[str], pool: Executor
) -> tuple[str, ...]:
    """Sessions that are not there, a sentence each. `listed`: the names of all objects."""
    needing = {**_of_logs(listed), **_of_snapshots(repository, found, pool)}
    missing = [(session, who) for session, who in needing.items() if session not in listed]
    storage = repository.storage
    return tuple(
        f"{repository.where}: {session} is missing: nobody can open what {who} needs of it"
        for session, who in missing
        # It was listed while others wrote and removed.
        if not is_there(storage, session) and is_there(storage, who)
    )


def _of_logs(listed: Collection[str]) -> dict[str, str]:
    """By their names alone. Which piece needs each."""
    return {names.SESSIONS + session: name for name, session in _pieces(listed)}


def _pieces(listed: Collection[str]) -> Iterator[tuple[str, str]]:
    for name in listed:
        if name.startswith(names.LOG):
            try:
                yield name, session_of("", name)
            except IntegrityError:
                continue  # a foreign file: 'drctl verify' tells of it


def _of_snapshots(repository: Repository, found: Catalog, pool: Executor) -> dict[str, str]:
    """Which snapshot, the newest of an asset, needs each."""
    newest = {snapshot.asset: snapshot for snapshot in found.snapshots}.values()
    needed = zip(newest, pool.map(lambda s: _sessions(repository, s), newest), strict=True)
    return {
        names.SESSIONS + session.hex(): names.SNAPSHOTS + snapshot.name
        for snapshot, sessions in needed
        for session in sessions
    }


def _sessions(repository: Repository, snapshot: Snapshot) -> list[bytes]:
    """None where its refs do not read: 'drctl verify' tells that."""
    try:
        plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, snapshot.refs)
        return list(documents.decode_refs(plain).segments)
    except (IntegrityError, NotFound):
        return []
