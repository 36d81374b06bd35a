"""A versioned bucket as it was at an instant: the answer to whoever overwrote or deleted with our
own credentials. Later versions and delete markers are not seen. Nothing can be written."""

import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from drctl.errors import NotFound, StorageError
from drctl.storage.base import Buffer, ObjectInfo
from drctl.storage.s3 import S3
from drctl.units import show_instant

_NS = 10**9
_UNVERSIONED = "null"  # the id of what was put while the bucket kept no versions


class S3AsOf(S3):
    """By the storage's own clock, which tells seconds: all that was there in `at_ns`'s second is
    seen. The versions are listed once, at the first use."""

    def __init__(self, bucket: str, prefix: str, at_ns: int, **rest: Any) -> None:
        super().__init__(bucket, prefix, **rest)
        self._at_ns = at_ns
        self._listing = threading.Lock()
        self._found: dict[str, tuple[ObjectInfo, str]] | None = None

    @property
    def where(self) -> str:
        return f"{super().where} as of {show_instant(self._at_ns)}"

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._refuse()

    def delete(self, name: str) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StorageError(
            f"{self.where}: the past cannot be changed", hint="leave out --as-of to write"
        )

    def head(self, name: str) -> ObjectInfo:
        return self._version(name)[0]

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for name, (info, _) in self._versions().items():
            if name.startswith(prefix):
                yield info

    def _version_of(self, name: str) -> dict[str, str]:
        return {"VersionId": self._version(name)[1]}

    def _version(self, name: str) -> tuple[ObjectInfo, str]:
        found = self._versions().get(name)
        if found is None:
            raise NotFound(name, self.where)
        return found

    def _versions(self) -> dict[str, tuple[ObjectInfo, str]]:
        """Name -> the version that was the newest then, and its id."""
        with self._listing:
            if self._found is None:
                self._found = self._list_versions()
            return self._found

    def _list_versions(self) -> dict[str, tuple[ObjectInfo, str]]:
        found: dict[str, tuple[ObjectInfo, str]] = {}
        gone: dict[str, int] = {}
        with self._translated("", "list the versions of"):
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for page in pages:
                for version in page.get("Versions", ()):
                    self._take(version, found)
                for marker in page.get("DeleteMarkers", ()):
                    name, at_ns = marker["Key"][len(self._prefix) :], _instant(marker)
                    if at_ns <= self._at_ns:
                        gone[name] = max(at_ns, gone.get(name, 0))
        if found and all(version == _UNVERSIONED for _, version in found.values()):
            raise StorageError(
                f"{super().where}: the bucket keeps no versions, so nothing tells how it was",
                hint="leave out --as-of; bucket versioning, once it is on, keeps what comes later",
            )
        # Of a version and a deletion in one second nobody can tell the order: what may have been
        # there is shown.
        return {
            name: held for name, held in found.items() if gone.get(name, 0) <= held[0].modified_ns
        }

    def _take(self, version: Any, found: dict[str, tuple[ObjectInfo, str]]) -> None:
        """Versions of a key come newest first, so of one second the first counts."""
        name, at_ns = version["Key"][len(self._prefix) :], _instant(version)
        if at_ns <= self._at_ns and (name not in found or found[name][0].modified_ns < at_ns):
            info = ObjectInfo(name, version["Size"], at_ns)
            found[name] = (info, version["VersionId"])


def _instant(version: Any) -> int:
    return int(version["LastModified"].timestamp()) * _NS
