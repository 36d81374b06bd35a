"""Holds: somebody's word that a snapshot stays, whatever the rules say. Each is an object of its
own, so any number of people may hold the same snapshot, and a copy holds it, too."""

from concurrent.futures import Executor

import msgspec
from msgspec import Struct

from drctl.codec import UNREADABLE
from drctl.errors import AlreadyExists, IntegrityError, NotFound
from drctl.repository import names
from drctl.repository.repository import Repository

HOLD_MAGIC = b"DRCTLH01"
CURE = (
    "it may hold anything, so nothing is removed: 'drctl verify --repair' takes it from another "
    "repository; where none has it, hold anew what is to stay, then remove that object by hand"
)


class _Hold(msgspec.Struct, frozen=True):
    snapshot: str
    reason: str = ""
    at_ns: int = 0


class Held(Struct, frozen=True):
    """One hold: the object's digest, and what it says."""

    digest: str
    snapshot: str
    reason: str


def put(repository: Repository, snapshot: str, reason: str, at_ns: int) -> None:
    """Hold a snapshot, by its whole name."""
    plain = msgspec.msgpack.encode(_Hold(snapshot, reason, at_ns))
    try:
        repository.put_meta(names.HOLDS, HOLD_MAGIC, plain)
    except AlreadyExists:
        return


def release(repository: Repository, snapshot: str) -> int:
    """Take away all holds of a snapshot. Gives how many there were."""
    mine = [held for held in found(repository) if held.snapshot == snapshot]
    for held in mine:
        repository.storage.delete(names.HOLDS + held.digest)
    return len(mine)


def load(repository: Repository, pool: Executor | None = None) -> dict[str, str]:
    """Snapshot's name -> reasons. Raises IntegrityError: what does not read may hold anything."""
    reasons: dict[str, list[str]] = {}
    for held in found(repository, pool):
        reasons.setdefault(held.snapshot, []).append(held.reason)
    return {name: "; ".join(r for r in why if r) for name, why in reasons.items()}


def found(repository: Repository, pool: Executor | None = None) -> list[Held]:
    """Every hold. Raises as `load` does."""
    listed = [info.name for info in repository.storage.list(names.HOLDS) if names.is_id(info.name)]
    digests = sorted(names.digest_of(name) for name in listed)

    def read(digest: str) -> Held | None:
        try:
            plain = repository.get_meta(names.HOLDS, HOLD_MAGIC, digest)
            hold = msgspec.msgpack.decode(plain, type=_Hold)
        except NotFound:
            return None
        except IntegrityError as error:
            raise IntegrityError(error.what, hint=CURE) from error
        except UNREADABLE as error:
            what = f"{repository.where}: {names.HOLDS}{digest} does not decode: {error}"
            raise IntegrityError(what, hint=CURE) from error
        return Held(digest, hold.snapshot, hold.reason)

    return [held for held in (pool.map if pool else map)(read, digests) if held]
