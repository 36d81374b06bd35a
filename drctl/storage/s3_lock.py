"""Object lock on S3: what is written cannot be destroyed before its time, by anybody who holds our
credentials. Deleting or overwriting hides a version that stays; `s3_versions.S3AsOf` reads it.

Every object is locked as it is put, for the period and some slack. The slack pays for itself: a
lock that is extended for a new snapshot is not due again before the slack is used up, so an
object costs one request in that time, not one in every run.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from drctl.clock import Clock
from drctl.errors import StorageError, StorageFault
from drctl.storage.base import Buffer
from drctl.storage.s3 import S3

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MOST_SLACK_SECONDS = 7 * 86_400
_MOST_WRITTEN = 1 << 17  # a stream of a log writes for months; what is forgotten costs a request
_NS = 10**9
_HINT = "object lock is switched on when a bucket is made; make one with it, and versioning"


class Lock(Struct, frozen=True):
    """`governance` yields to those with a special right, `compliance` to nobody."""

    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    period_seconds: float

    @property
    def slack_seconds(self) -> float:
        return min(self.period_seconds / 4, _MOST_SLACK_SECONDS)

    def new_until_ns(self, now_ns: int) -> int:
        """Until when something is locked that is put or extended now; whole seconds."""
        seconds = now_ns // _NS + int(self.period_seconds + self.slack_seconds) + 1
        return seconds * _NS


class LockedS3(S3):
    """A bucket whose objects are locked as they are put, but for what is below `passing`:
    `written` tells until when, by name."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        lock: Lock,
        clock: Clock,
        written: dict[str, int],
        passing: tuple[str, ...] = (),
        **rest: Any,
    ) -> None:
        super().__init__(bucket, prefix, **rest)
        self.lock = lock
        self.written = written
        self._clock = clock
        self._passing = passing
        self._rest = rest

    def relocked(self, lock: Lock) -> "LockedS3":
        """The same place with another lock."""
        prefix = self._prefix
        return LockedS3(self._bucket, prefix, lock, self._clock, {}, **self._rest)

    @property
    def client(self) -> "S3Client":
        """For who tries what the storage refuses: `try_on`."""
        return self._client

    def try_on(self, name: str, call: Callable[..., Any], **words: Any) -> None:
        """One of the client's calls on an object. Raises StorageError when it is refused."""
        with self._translated(name, "change"):
            call(Bucket=self._bucket, Key=self._key(name), **words)

    def lock_trouble(self) -> str:
        """Why the bucket cannot lock; empty: it can."""
        try:
            with self._translated("the bucket's lock", "look at"):
                self._client.get_object_lock_configuration(Bucket=self._bucket)
                versions = self._client.get_bucket_versioning(Bucket=self._bucket)
        except StorageFault:
            raise
        except StorageError as error:
            return f"{error.what}: {_HINT}"
        return "" if versions.get("Status") == "Enabled" else f"it keeps no versions: {_HINT}"

    def version_of(self, name: str) -> str:
        """The id of the newest version. Raises NotFound."""
        with self._translated(name, "look at"):
            found = self._client.head_object(Bucket=self._bucket, Key=self._key(name))
        return found["VersionId"]

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        if name.startswith(self._passing):
            super().put(name, data, replace=replace)
        else:
            self._put_locked(name, data, replace=replace)

    def _put_locked(self, name: str, data: Buffer, *, replace: bool) -> None:
        until_ns = self.lock.new_until_ns(self._clock.now_ns())
        words = {
            "ObjectLockMode": self.lock.mode,
            "ObjectLockRetainUntilDate": locked_date(until_ns),
        }
        try:
            self._put(name, data, replace=replace, **words)
        except StorageError as error:
            if "InvalidRequest" in error.what:
                raise StorageError(f"{error.what}: it takes no lock", hint=_HINT) from error
            raise
        if len(self.written) >= _MOST_WRITTEN:
            self.written.clear()
        self.written[name] = until_ns

    def retain(self, name: str, until_ns: int) -> None:
        """Lock the object until then at least; never shorter than it is. Raises NotFound."""
        words: Any = {"Mode": self.lock.mode, "RetainUntilDate": locked_date(until_ns)}
        try:
            with self._translated(name, "lock"):
                self._client.put_object_retention(
                    Bucket=self._bucket, Key=self._key(name), Retention=words
                )
        except StorageError:
            if self.retained_until_ns(name) < until_ns:
                raise

    def retained_until_ns(self, name: str) -> int:
        """0 where it is not locked. Raises NotFound."""
        with self._translated(name, "look at the lock of"):
            found: Mapping[str, Any] = self._client.head_object(
                Bucket=self._bucket, Key=self._key(name)
            )
        until = found.get("ObjectLockRetainUntilDate")
        is_ours = found.get("ObjectLockMode") in {self.lock.mode, "COMPLIANCE"}
        return int(until.timestamp()) * _NS if until and is_ours else 0


def locked_date(until_ns: int) -> datetime:
    """As the SDK wants it."""
    return datetime.fromtimestamp(until_ns // _NS, UTC)
