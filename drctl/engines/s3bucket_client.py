"""A bucket as an engine needs it: beside what storage.s3 does, listings with versions, objects with
their metadata, and reads that hold on to what was listed."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import md5
from typing import Any, TypeVar
from urllib.parse import urlencode

from drctl.clock import Clock
from drctl.engines.base import Surroundings
from drctl.engines.s3bucket_order import Listed
from drctl.engines.s3bucket_place import S3Place
from drctl.errors import AlreadyExists, NotFound, StorageError, StorageFault
from drctl.storage.base import Buffer
from drctl.storage.retry import Retry
from drctl.storage.s3 import S3, Credentials, code_of

KEY = b"user.s3.key"
_METADATA, _TAGS = b"user.s3.metadata", b"user.s3.tags"
_HEADERS = {
    b"user.s3.cache-control": "CacheControl",
    b"user.s3.content-disposition": "ContentDisposition",
    b"user.s3.content-encoding": "ContentEncoding",
    b"user.s3.content-language": "ContentLanguage",
    b"user.s3.content-type": "ContentType",
}
_ONE_OBJECTS = frozenset({"AccessDenied", "403", "InvalidObjectState", "KeyTooLongError"})
_HAS_NONE = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})

Xattrs = tuple[tuple[bytes, bytes], ...]
_T = TypeVar("_T")


class Bucket(S3):
    """The objects below a prefix. What may pass is tried again. Thread safe."""

    def __init__(self, bucket: str, prefix: str, clock: Clock, **rest: Any) -> None:
        super().__init__(bucket, prefix, **rest)
        self._clock = clock
        self._retry = Retry(self, clock)

    def _call(self, name: str, doing: str, call: Callable[[], _T]) -> _T:
        def attempt() -> _T:
            with self._translated(name, doing):
                return call()

        return self._retry.again(attempt)

    # -- listing ------------------------------------------------------------------------------

    def keeps_versions(self) -> bool:
        """Whether objects may have earlier versions. Some servers know of none."""
        try:
            answer = self._call("", "ask for the versioning of", self._versioning)
        except StorageError as error:
            if code_of(error) in _HAS_NONE:
                return False
            raise
        return answer.get("Status") in ("Enabled", "Suspended")

    def _versioning(self) -> Any:
        return self._client.get_bucket_versioning(Bucket=self._bucket)

    def after_this_second(self) -> int:
        """The end of the server's running second, in nanoseconds since 1970, once it has passed:
        some servers date their versions by whole seconds."""
        end = self._server_seconds() + 1
        while self._server_seconds() < end:
            self._clock.sleep(0.2)
        return end * 10**9

    def _server_seconds(self) -> int:
        answer = self._call("", "ask for the versioning of", self._versioning)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return int(parsedate_to_datetime(date).timestamp())
        except ValueError as error:
            raise StorageError(f"{self.where}: the server does not tell its time") from error

    def objects(self) -> Iterator[Listed]:
        """Each object that is there."""
        for page in self._pages(self._client.list_objects_v2, "ContinuationToken"):
            for found in page.get("Contents", ()):
                yield self._listed(found)

    def versions(self, before_ns: int) -> Iterator[Listed]:
        """Every version and deletion that is older than an instant of the server's clock."""
        pages = self._pages(self._client.list_object_versions, "KeyMarker", "VersionIdMarker")
        for page in pages:
            for kind in ("Versions", "DeleteMarkers"):
                for found in page.get(kind, ()):
                    listed = self._listed(found, is_there=kind == "Versions")
                    if listed.modified_ns < before_ns:
                        yield listed

    def _pages(self, call: Callable[..., Any], *markers: str) -> Iterator[Any]:
        words: dict[str, str] = {}
        while True:
            page = self._call("", "list", partial(self._page, call, words))
            yield page
            if not page["IsTruncated"]:
                return
            words = {name: page[f"Next{name}"] for name in markers if page.get(f"Next{name}")}
            if not words:  # it would begin anew, for ever
                raise StorageError(f"{self.where}: a listing that is cut says not where it goes on")

    def _page(self, call: Callable[..., Any], words: dict[str, str]) -> Any:
        page = call(Bucket=self._bucket, Prefix=self._prefix, **words)
        self._must_be_s3(page, "IsTruncated")
        return page

    def _listed(self, found: Any, *, is_there: bool = True) -> Listed:
        return Listed(
            found["Key"][len(self._prefix) :],
            found.get("ETag", ""),
            found.get("Size", 0),
            int(found["LastModified"].timestamp() * 1000) * 10**6,
            found.get("VersionId", ""),
            found.get("IsLatest", True),
            is_there,
        )

    # -- reading ------------------------------------------------------------------------------

    def read(self, found: Listed, offset: int, length: int) -> tuple[Any, bytes]:
        """What the server tells of an object, and a part of its content; of an empty one nothing.

        Raises NotFound, and AlreadyExists when another object stands under its key meanwhile.
        """
        words: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": self._key(found.key),
            "IfMatch": found.etag,
        }
        if found.version:
            words["VersionId"] = found.version
        if not length:
            return self._call(found.key, "read", lambda: self._client.head_object(**words)), b""
        words["Range"] = f"bytes={offset}-{offset + length - 1}"
        return self._call(found.key, "read", lambda: self._read(found.key, length, words))

    def _read(self, key: str, length: int, words: Any) -> tuple[Any, bytes]:
        answer = self._client.get_object(**words)
        with answer["Body"] as body:
            data = body.read()
        self._must_be_s3(answer, "ETag")
        if len(data) != length:
            raise StorageFault(f"{self.where}: {key}: the answer broke off at {len(data)} bytes")
        return answer, data

    def xattrs(self, found: Listed, answer: Any) -> Xattrs:
        """What an object has beside its content, as attributes of its entry."""
        pairs = {name: answer[word].encode() for name, word in _HEADERS.items() if answer.get(word)}
        pairs[KEY] = found.key.encode()
        if answer.get("Metadata"):
            pairs[_METADATA] = json.dumps(answer["Metadata"], sort_keys=True).encode()
        if answer.get("TagCount"):
            pairs[_TAGS] = self._tags(found)
        return tuple(sorted(pairs.items()))

    def _tags(self, found: Listed) -> bytes:
        words: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(found.key)}
        if found.version:
            words["VersionId"] = found.version
        answer = self._call(
            found.key, "read the tags of", lambda: self._client.get_object_tagging(**words)
        )
        return urlencode(sorted((tag["Key"], tag["Value"]) for tag in answer["TagSet"])).encode()

    # -- writing ------------------------------------------------------------------------------

    def put_new(self, key: str, data: Buffer, xattrs: Xattrs) -> None:
        """A new object with what it had. Raises AlreadyExists when another one is there; the
        answer to our own put may have been lost."""
        words, faults = words_of(xattrs), 0

        def attempt() -> None:
            nonlocal faults
            try:
                self._put(key, data, replace=False, **words)
            except StorageFault:
                faults += 1
                raise
            except AlreadyExists:
                if not faults or self.get(key) != bytes(data):
                    raise

        self._retry.again(attempt)

    def begin(self, key: str, xattrs: Xattrs) -> str:
        """A new object in parts. Gives the upload's id."""
        words = words_of(xattrs) | {"Bucket": self._bucket, "Key": self._key(key)}
        answer = self._call(key, "write", lambda: self._client.create_multipart_upload(**words))
        return str(answer["UploadId"])

    def put_part(self, key: str, upload: str, number: int, data: bytes) -> Any:
        """Gives what `complete` wants to know of it."""
        digest = base64.b64encode(md5(data, usedforsecurity=False).digest()).decode()
        words: dict[str, Any] = {"PartNumber": number, "Body": data, "ContentMD5": digest}
        words |= {"Bucket": self._bucket, "Key": self._key(key), "UploadId": upload}
        answer = self._call(key, "write", lambda: self._client.upload_part(**words))
        self._must_be_s3(answer, "ETag")
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def complete(self, key: str, upload: str, parts: list[Any]) -> None:
        """All parts were put. Raises AlreadyExists when another object has come to be there; the
        answer to our own call may have been lost, and then the upload is gone, too."""
        words: dict[str, Any] = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
        words |= {"Bucket": self._bucket, "Key": self._key(key), "IfNoneMatch": "*"}
        faults = 0

        def attempt() -> None:
            nonlocal faults
            try:
                with self._translated(key, "write"):
                    self._client.complete_multipart_upload(**words)
            except StorageFault:
                faults += 1
                raise
            except StorageError as error:
                may_be_ours = isinstance(error, AlreadyExists) or code_of(error) == "NoSuchUpload"
                if not (faults and may_be_ours and self._is_of(key, parts)):
                    raise

        self._retry.again(attempt)

    def _is_of(self, key: str, parts: list[Any]) -> bool:
        """Whether the object that is there was made of just these parts, by its tag."""
        told = (bytes.fromhex(part["ETag"].strip('"')) for part in parts)
        try:
            tag = md5(b"".join(told), usedforsecurity=False).hexdigest()
        except ValueError:
            return False  # a server with tags of its own kind tells nothing
        with suppress(NotFound), self._translated(key, "look at"):
            found = self._client.head_object(Bucket=self._bucket, Key=self._key(key))
            return str(found.get("ETag", "")).strip('"') == f"{tag}-{len(parts)}"
        return False

    def give_up(self, key: str, upload: str) -> None:
        """Nothing of the upload stays."""
        words: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key), "UploadId": upload}
        self._call(key, "give up", lambda: self._client.abort_multipart_upload(**words))


def connect(place: S3Place, around: Surroundings, at: tuple[str, str] | None = None) -> Bucket:
    """The bucket of a plan, or another one (`at`: bucket and prefix) with what opens that. Raises
    KeyUnavailable."""
    own = place.credentials

    def secret(reference: str | None) -> str:
        return around.secret(reference) if reference else ""

    held = Credentials(
        secret(own.access_key), secret(own.secret_key), secret(own.session_token), own.profile or ""
    )
    bucket, prefix = at or (place.bucket, place.prefix)
    rest: dict[str, Any] = {"endpoint": place.endpoint, "region": place.region}
    return Bucket(bucket, prefix, around.clock, credentials=held, **rest)


def is_of_one_object(error: StorageError) -> bool:
    """Whether what was refused is this object alone, and others may well be had."""
    return code_of(error) in _ONE_OBJECTS


def words_of(xattrs: Xattrs) -> dict[str, Any]:
    """What `xattrs` told, as the words of a put."""
    held = dict(xattrs)
    words: dict[str, Any] = {
        word: held[name].decode() for name, word in _HEADERS.items() if name in held
    }
    if _METADATA in held:
        words["Metadata"] = json.loads(held[_METADATA])
    if _TAGS in held:
        words["Tagging"] = held[_TAGS].decode()
    return words
