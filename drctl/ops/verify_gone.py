"""What went between the listing of a repository and its reading: runs end, prunes delete, a hold is
taken away. That is no damage, unless a snapshot that is there needs it."""

from drctl.ops.verify_places import Needers
from drctl.repository import log, names
from drctl.storage.base import Storage, is_there

# Signs and marks come and go, a part of a log goes when a whole piece covers it, and what an index
# told stands in the packs.
_PASSING = (*names.PASSING, names.HOLDS, names.LOG, names.INDEX)
_HELD = (names.SNAPSHOTS, names.SESSIONS, names.PACKS, names.REFS)


def is_missed(storage: Storage, needers: Needers | None, name: str) -> bool:
    """Whether it is wrong that an object went. Where nobody can tell who needs what, it is. Raises
    StorageError."""
    if name.startswith(_PASSING):
        return False
    if needers is None or not needers.are_all_known:
        return True
    if not name.startswith(_HELD) or not names.is_id(name):
        return name.startswith((names.CONFIG, names.KEYS, names.EVIDENCE))
    digest = names.digest_of(name)
    if name.startswith(names.SNAPSHOTS):
        return not any(is_there(storage, f + digest) for f in (names.TRASHED, names.DAMAGED))
    if name.startswith(names.SESSIONS) and _opens_log(storage, digest):
        return True
    return any(is_there(storage, names.SNAPSHOTS + s.name) for s in needers.of(name))


def _opens_log(storage: Storage, session: str) -> bool:
    listed = (info.name for info in storage.list(names.LOG))
    return any(log.session_of("", name) == session for name in listed if log.is_piece(name))
