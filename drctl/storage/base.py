"""The contract of a storage: whole, immutable objects under names.

Names are `/`-separated ASCII (`packs/ab/ab12...`, `config`), made by drctl only; a name that holds
others below it is never an object itself. Every method may be called from many threads at once.
Every method raises StorageError and nothing else; StorageFault among them where trying again may
help. `contract.py` is this text as a test suite.
"""

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from drctl.errors import NotFound

Buffer = bytes | bytearray | memoryview


class ObjectInfo(Struct, frozen=True):
    """`modified_ns` is by the storage's own clock, the only one that collection may trust."""

    name: str
    size_bytes: int
    modified_ns: int


class Storage(Protocol):
    @property
    def where(self) -> str:
        """What a person calls this place: a path, `s3://bucket/prefix`. Never a secret."""
        ...

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        """Make the object, whole or not at all, and durable when this returns.

        Without `replace` an existing object stays and AlreadyExists is raised, also when two
        writers race. With it, readers see the old bytes or the new ones, never a mixture.
        """
        ...

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes, or `length` of them from `offset`.

        Raises NotFound; Unreadable when the range is not wholly inside the object, never giving
        fewer bytes than were asked for, or when its medium fails. A `length` of 0 gives b"".
        """
        ...

    def head(self, name: str) -> ObjectInfo:
        """Raises NotFound."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose name starts with `prefix`, each once, in no promised order: not every
        S3 server keeps one.

        What a `put` made before the call is there; half-made objects never are.
        """
        ...

    def delete(self, name: str) -> None:
        """Remove the object. That it is gone already is success."""
        ...

    def close(self) -> None:
        """Give back connections. Nothing is buffered, so nothing can be lost here."""
        ...


def is_there(storage: Storage, name: str) -> bool:
    """Whether there is an object of that name. Raises StorageError."""
    try:
        storage.head(name)
    except NotFound:
        return False
    return True
