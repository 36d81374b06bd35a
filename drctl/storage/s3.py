"""An S3 bucket as storage, through botocore, the part of boto3 that talks to it.

The SDK's own retries are off: `retry.Retry` is the only place that tries again. Puts are
conditional (If-None-Match), carry a SHA-256 that the server checks, and what comes back is checked
for length; its content is proven above, by name and seal.
"""

import base64
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from drctl.errors import (
    AlreadyExists,
    KeyUnavailable,
    NotFound,
    StorageError,
    StorageFault,
    Unreadable,
)
from drctl.storage.base import Buffer, ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_EXISTS = frozenset({"412", "PreconditionFailed"})
_PASSING = frozenset(
    {
        "409",  # ConditionalRequestConflict: another writer is at it; ask again
        "ConditionalRequestConflict",
        "OperationAborted",
        "InternalError",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "RequestTimeout",
        "BadDigest",  # what arrived is not what was sent
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
    }
)
_HINTS = {
    "NoSuchBucket": "make the bucket, or mend its name in the plan",
    "AccessDenied": "the credentials may not do this: look at the bucket's policy",
    "403": "the credentials may not do this: look at the bucket's policy",
    "InvalidAccessKeyId": "the access key is unknown there: look at the plan's credentials",
    "SignatureDoesNotMatch": "the secret key is wrong: look at the plan's credentials",
    "ExpiredToken": "the session token has expired: get a new one",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "PermanentRedirect": "the bucket is in another region: set 'region' in the plan",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set 'region' in the plan",
    "QuotaExceeded": "the bucket is full: raise its quota",
    "InsufficientCapacity": "the storage is full",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Static keys, or a profile of the SDK's own files. All empty: the SDK's usual search."""

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    profile: str = ""


class S3:
    """Objects are keys below `prefix` in `bucket`. Thread safe."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        region: str = "",
        credentials: Credentials | None = None,
        connections: int = 16,
        timeout_seconds: float = 30.0,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint = endpoint
        self._region = region
        self._credentials = credentials or Credentials()
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._made: S3Client | None = None

    def __repr__(self) -> str:
        return f"S3({self.where!r})"

    @property
    def where(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def _client(self) -> "S3Client":
        """Made at the first use: importing the SDK takes longer than most commands."""
        with self._lock:
            if self._made is None:
                self._made = self._connect()
            return self._made

    def _connect(self) -> "S3Client":
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        from drctl.storage import s3_sdk

        own = self._credentials
        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=min(10.0, self._timeout_seconds),
            read_timeout=self._timeout_seconds,
            max_pool_connections=self._connections,
            tcp_keepalive=True,
            # We send SHA-256 ourselves, and prove what comes back by name and seal.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if self._endpoint else "auto"},
        )
        try:
            return s3_sdk.client(
                keys=(own.access_key, own.secret_key, own.session_token),
                profile=own.profile,
                region=self._region or ("us-east-1" if self._endpoint else ""),
                endpoint=self._endpoint,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise KeyUnavailable(
                f"{self.where}: {error}", hint="look at the bucket's settings in the plan"
            ) from error

    def _key(self, name: str) -> str:
        return self._prefix + name

    # -- writing ------------------------------------------------------------------------------

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._put(name, data, replace=replace)

    def _put(self, name: str, data: Buffer, *, replace: bool, **words: Any) -> None:
        """`words`: what a storage that does more than this one says with it."""
        if not replace:
            words["IfNoneMatch"] = "*"
        with self._translated(name, "write"):
            answer = self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(name),
                Body=bytes(data),
                ChecksumSHA256=base64.b64encode(sha256(data).digest()).decode(),
                **words,
            )
        self._must_be_s3(answer, "ETag")

    def delete(self, name: str) -> None:
        try:
            with self._translated(name, "delete"):
                self._client.delete_object(Bucket=self._bucket, Key=self._key(name))
        except NotFound as error:
            # Some servers say so of what is gone already, as after an answer that was lost.
            if code_of(error) != "NoSuchKey":
                raise

    # -- reading ------------------------------------------------------------------------------

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return self._empty_range(name, offset)
        ranged: dict[str, Any] = dict(self._version_of(name))
        if offset or length is not None:
            ranged["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        with self._translated(name, "read"):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name), **ranged)
            with answer["Body"] as body:
                data = body.read()
        self._must_be_s3(answer, "ETag")
        self._answered(name, answer)
        if len(data) != answer["ContentLength"]:
            raise StorageFault(f"{self.where}: {name}: the answer broke off at {len(data)} bytes")
        if length is not None and len(data) != length:
            raise Unreadable(f"{self.where}: {name} ends before byte {offset + length}")
        return data

    def _version_of(self, name: str) -> dict[str, str]:
        """Which version is read: the newest."""
        del name
        return {}

    def _answered(self, name: str, answer: Mapping[str, Any]) -> None:
        """What the server tells of an object beside its bytes: nothing that matters here."""

    def _empty_range(self, name: str, offset: int) -> bytes:
        """HTTP has no empty range."""
        if offset > self.head(name).size_bytes:
            raise Unreadable(f"{self.where}: {name} ends before byte {offset}")
        return b""

    def head(self, name: str) -> ObjectInfo:
        with self._translated(name, "look at"):
            found = self._client.head_object(Bucket=self._bucket, Key=self._key(name))
        self._must_be_s3(found, "ETag")
        self._answered(name, found)
        modified_ns = int(found["LastModified"].timestamp() * 1e9)
        return ObjectInfo(name, found["ContentLength"], modified_ns)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._translated(prefix, "list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix)
            )
            for page in pages:
                self._must_be_s3(page, "IsTruncated")
                for found in page.get("Contents", ()):
                    yield ObjectInfo(
                        found["Key"][len(self._prefix) :],
                        found["Size"],
                        int(found["LastModified"].timestamp() * 1e9),
                    )

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    # -- errors -------------------------------------------------------------------------------

    @contextmanager
    def _translated(self, name: str, doing: str) -> Iterator[None]:
        """The SDK's errors become ours; none of them shows a secret."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            HTTPClientError,
            IncompleteReadError,
            NoCredentialsError,
            PartialCredentialsError,
        )
        from botocore.exceptions import ConnectionError as Unreachable
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ClientError as error:
            raise self._from_answer(error.response, name, doing) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise KeyUnavailable(
                f"{self.where}: no S3 credentials were found",
                hint="set the bucket's 'credentials' in the plan",
            ) from error
        except (
            HTTPClientError,
            HTTPError,
            IncompleteReadError,
            Unreachable,
            ConnectionError,
            TimeoutError,
            ResponseParserError,  # something on the way answered instead
        ) as error:
            raise StorageFault(
                f"{self.where}: cannot {doing} {name}: {_plain(error)}",
                hint="is the storage up, and reachable from here?",
            ) from error
        except BotoCoreError as error:
            raise StorageError(f"{self.where}: cannot {doing} {name}: {_plain(error)}") from error

    def _must_be_s3(self, answer: Any, told: str) -> None:
        """A proxy or a hotel's network says 200 to anything: what was to be stored would be lost,
        and a listing would be empty. Every S3 server tells an object's tag and a listing's end."""
        if told not in answer:
            raise StorageFault(
                f"{self.where}: what answered is no S3 storage",
                hint="something between here and the storage answered instead: look at the proxy",
            )

    def _from_answer(self, answer: Any, name: str, doing: str) -> StorageError:
        code = str(answer.get("Error", {}).get("Code", ""))
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _MISSING:
            return NotFound(name, self.where)
        if code in _EXISTS:
            return AlreadyExists(name, self.where)
        what = f"{self.where}: cannot {doing} {name}: {code or status}"
        if code == "InvalidRange":
            return Unreadable(f"{self.where}: {name} is shorter than the range asked for")
        if code in _PASSING or status >= 500 or status == 429:
            return StorageFault(what, hint="the storage had a passing trouble: try again later")
        return StorageError(what, hint=_HINTS.get(code, ""))


def code_of(error: StorageError) -> str:
    """The server's own word for why it refused; empty where it did not answer."""
    answer: Any = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def _plain(error: Exception) -> str:
    """The kind of failure in words; the SDK's text repeats addresses and headers."""
    return type(error).__name__
