"""What this host remembers of the places where it found repositories.

A disk that is not mounted looks like an empty place, and what is made there anew lies on the wrong
disk, while the real one falls behind unseen.
"""

import os
from hashlib import sha256

from drctl.errors import StorageError
from drctl.homes import state_home
from drctl.private import write_new
from drctl.storage.base import Storage


def place_digest(storage: Storage) -> str:
    """What this host keeps of a place is called so."""
    return sha256(storage.where.encode()).hexdigest()[:16]


def was_there(storage: Storage) -> bool:
    """Whether this host remembers a repository at that place."""
    return os.path.exists(_memory(storage))


def note(storage: Storage) -> str:
    """Remember that there is one. Gives why that is not possible: it must hinder nothing."""
    path = _memory(storage)
    if os.path.exists(path):
        return ""
    try:
        write_new(path, storage.where + "\n")
    except FileExistsError:
        return ""  # another run was quicker
    except OSError as error:
        return f"{path}: {error.strerror}: this host will not remember {storage.where}"
    return ""


def missing(storage: Storage, if_new: str, if_lost: str) -> StorageError:
    """There is no repository. The hints: where none was known, and where one was."""
    what = f"{storage.where}: there is no drctl repository"
    if not was_there(storage):
        return StorageError(what, hint=if_new)
    is_bucket = storage.where.startswith("s3://")
    ask = "was it deleted there?" if is_bucket else "is its disk mounted?"
    return StorageError(f"{what}, though this host found one there before: {ask}", hint=if_lost)


def _memory(storage: Storage) -> str:
    return os.path.join(state_home(), "there", place_digest(storage))
