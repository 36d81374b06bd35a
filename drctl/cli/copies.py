"""A copy must be there before it is brought up to date: only `init` and `replicate --to` make one.

A disk that is not mounted looks like an empty place, and a copy that is made there anew lies on the
wrong disk, while the real one falls behind unseen.
"""

import os

from drctl.errors import StorageError
from drctl.homes import state_home
from drctl.private import write_new
from drctl.repository import lifecycle
from drctl.storage.base import Storage
from drctl.stores import place_digest
from drctl.wiring import Wiring


def must_be_there(wiring: Wiring, name: str) -> None:
    """Raises StorageError when the copy's place holds nothing of a repository."""
    storage = wiring.storage(name)
    if lifecycle.is_in_use(storage):
        _note(wiring, storage)
        return
    was = ", though this host found one there before" if was_there(storage) else ""
    raise StorageError(
        f"{storage.where}: there is no drctl repository{was}",
        hint=f"is its disk mounted? Where it is new, or was lost, 'drctl replicate --to {name}' "
        "makes it",
    )


def was_there(storage: Storage) -> bool:
    """Whether this host remembers a repository at that place."""
    return os.path.exists(_memory(storage))


def _note(wiring: Wiring, storage: Storage) -> None:
    path = _memory(storage)
    if os.path.exists(path):
        return
    try:
        write_new(path, storage.where + "\n")
    except FileExistsError:
        return  # another run was quicker
    except OSError as error:
        wiring.warn(f"{path}: {error.strerror}: this host will not remember {storage.where}")


def _memory(storage: Storage) -> str:
    return os.path.join(state_home(), "there", place_digest(storage))
