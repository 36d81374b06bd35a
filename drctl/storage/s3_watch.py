"""A bucket that nothing is locked in by whoever opens it, and that notices where others lock: a
plan that lost its lock would write beside what is locked, and nobody would know.

It costs nothing: an answer about an object tells its lock. Only where there is one is the bucket
asked, once, whether it locks by itself all that is put.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from drctl.errors import StorageError
from drctl.storage.s3 import S3

_NS = 10**9


class WatchfulS3(S3):
    """`told` is given until when the object `watched` is locked, where the bucket does not lock by
    itself."""

    def __init__(
        self, bucket: str, prefix: str, watched: str, told: Callable[[int], None], **rest: Any
    ) -> None:
        super().__init__(bucket, prefix, **rest)
        self._watched = watched
        self._told = told
        self._locks_by_itself: bool | None = None

    def _answered(self, name: str, answer: Mapping[str, Any]) -> None:
        until = answer.get("ObjectLockRetainUntilDate")
        if name != self._watched or until is None:
            return
        if self._locks_by_itself is None:
            self._locks_by_itself = self._has_default()
        if not self._locks_by_itself:
            self._told(int(until.timestamp()) * _NS)

    def _has_default(self) -> bool:
        """A server that does not know, or must not tell these credentials, is one that does not."""
        with (
            suppress(StorageError),
            self._translated("the bucket's lock", "look at"),
        ):
            found = self._client.get_object_lock_configuration(Bucket=self._bucket)
            return "Rule" in found.get("ObjectLockConfiguration", {})
        return False
