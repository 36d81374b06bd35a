"""Keeps small immutable objects of a distant storage here, still sealed as they are there.

An object is named by the hash of its bytes, so what is kept is proven when it is read, and can
never be out of date. The cache is only ever a help: what cannot be kept or read is fetched.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256

from drctl.private import make_directory
from drctl.storage.base import Buffer, ObjectInfo, Storage


class Cache:
    """A storage whose objects below `folders` are also kept in `directory`."""

    def __init__(self, inner: Storage, directory: str, folders: tuple[str, ...]) -> None:
        self._inner = inner
        self._directory = directory
        self._folders = folders

    @property
    def where(self) -> str:
        return self._inner.where

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._inner.put(name, data, replace=replace)
        if self._keeps(name):
            self._keep(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if offset or length is not None or not self._keeps(name):
            return self._inner.get(name, offset, length)
        kept = self._kept(name)
        if kept is not None:
            return kept
        data = self._inner.get(name)
        self._keep(name, data)
        return data

    def head(self, name: str) -> ObjectInfo:
        return self._inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """A whole listing of a folder also tells what need not be kept any more."""
        listed = set()
        for info in self._inner.list(prefix):
            listed.add(info.name)
            yield info
        if prefix in self._folders:
            self._forget_others(prefix, listed)

    def delete(self, name: str) -> None:
        self._inner.delete(name)

    def close(self) -> None:
        self._inner.close()

    def _keeps(self, name: str) -> bool:
        return name.startswith(self._folders)

    def _kept(self, name: str) -> bytes | None:
        """What is here and is what its name says."""
        try:
            with open(os.path.join(self._directory, name), "rb") as file:
                data = file.read()
        except OSError:
            return None
        return data if sha256(data).hexdigest() == name.rpartition("/")[2] else None

    def _keep(self, name: str, data: Buffer) -> None:
        path = os.path.join(self._directory, name)
        partial = f"{path}.{os.getpid()}"
        with suppress(OSError):  # no room, no rights: it is fetched again next time
            make_directory(os.path.dirname(path))
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            os.replace(partial, path)

    def _forget_others(self, folder: str, listed: set[str]) -> None:
        here = os.path.join(self._directory, folder)
        with suppress(OSError):  # nothing is kept yet, or somebody else tidied up
            for name in os.listdir(here):
                if folder + name not in listed:
                    os.unlink(os.path.join(here, name))
