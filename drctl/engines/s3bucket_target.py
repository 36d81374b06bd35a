"""Putting a bucket's objects back, below a directory or into a bucket, and counting what came."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from drctl.engines.base import Health, Surroundings, Target, Writing
from drctl.engines.s3bucket_client import KEY, Bucket, connect, is_of_one_object
from drctl.engines.s3bucket_place import S3Place
from drctl.engines.tree_write import TreeTarget
from drctl.errors import AlreadyExists, StorageError, TargetRefused, UsageError
from drctl.model import Entry, Kind, Problem
from drctl.units import count, show_path

_SCHEME = "s3://"
_PART_BYTES = 16 << 20
_MOST_PARTS = 9_000  # S3 takes 10,000
_TAKEN = "an object of this name came to be there meanwhile; it was left alone"


def target(place: S3Place | None, to: str, _facts: dict[str, str], around: Surroundings) -> Target:
    """Restores below the directory `to`, or into s3://BUCKET/PREFIX."""
    if not to.startswith(_SCHEME):
        return _Directory(to)
    return BucketTarget(_bucket(place, to, around), to)


class _Directory(TreeTarget):
    """Objects have no owner: in a directory they belong to whoever restores them."""

    def put_plain(self, entry: Entry) -> Problem | None:
        return super().put_plain(_owned(entry))

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        return super().put_small(_owned(entry), content)

    def open_large(self, entry: Entry) -> Writing:
        return super().open_large(_owned(entry))


def _owned(entry: Entry) -> Entry:
    return replace(entry, uid=os.geteuid(), gid=os.getegid())


def _bucket(place: S3Place | None, at: str, around: Surroundings) -> Bucket:
    if place is None:
        raise UsageError(
            f"{at}: nothing says how to reach it",
            hint="keep the asset in the plan: its endpoint and credentials are used",
        )
    bucket, _, prefix = at.removeprefix(_SCHEME).partition("/")
    if not bucket:
        raise UsageError(f"{at} names no bucket", hint="write s3://BUCKET/PREFIX")
    return connect(place, around, (bucket, prefix))


class BucketTarget:
    """Puts objects below a prefix that is empty; see engines.base.Target. What others put there
    meanwhile is never replaced."""

    def __init__(self, bucket: Bucket, to: str) -> None:
        self._bucket = bucket
        self._to = to

    def prepare(self) -> None:
        try:
            found = next(self._bucket.objects(), None)
        except StorageError as error:
            raise TargetRefused(f"{error.what}: nothing was restored", hint=error.hint) from error
        if found is not None:
            raise TargetRefused(
                f"{self._to} is not empty: nothing was restored",
                hint="name a prefix that holds nothing yet, or another bucket",
            )

    def put_plain(self, entry: Entry) -> Problem | None:
        if entry.kind == Kind.DIRECTORY:
            return None  # a bucket has none
        return Problem(entry.path, "is no object")

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        try:
            self._bucket.put_new(_key(entry), content, entry.xattrs)
        except StorageError as error:
            return _problem(entry, error)
        return None

    def open_large(self, entry: Entry) -> Writing:
        return _Upload(self._bucket, entry)

    def finish(self) -> tuple[Problem, ...]:
        self._bucket.close()
        return ()


def _key(entry: Entry) -> str:
    return (dict(entry.xattrs).get(KEY) or entry.path).decode("utf-8", "surrogateescape")


def _problem(entry: Entry, error: StorageError) -> Problem:
    """Raises the error again when it is no matter of this object alone."""
    if isinstance(error, AlreadyExists):
        return Problem(entry.path, _TAKEN)
    if is_of_one_object(error):
        return Problem(entry.path, f"could not be restored: {error.what}")
    raise error


class _Upload:
    """One object in parts; see engines.base.Writing. It is there once all of it is."""

    def __init__(self, bucket: Bucket, entry: Entry) -> None:
        self._bucket = bucket
        self._entry = entry
        self._key = _key(entry)
        self._part_bytes = max(_PART_BYTES, entry.size // _MOST_PARTS)
        self._held = bytearray()
        self._parts: list[object] = []
        self._upload = bucket.begin(self._key, entry.xattrs)

    def write(self, piece: bytes | memoryview) -> None:
        self._held += piece
        while len(self._held) >= self._part_bytes:
            self._send(self._part_bytes)

    def _send(self, size: int) -> None:
        data = bytes(self._held[:size])
        del self._held[:size]
        number = len(self._parts) + 1
        self._parts.append(self._bucket.put_part(self._key, self._upload, number, data))

    def close(self) -> Problem | None:
        try:
            if self._held or not self._parts:
                self._send(len(self._held))
            self._bucket.complete(self._key, self._upload, self._parts)
        except StorageError as error:
            self.abort()
            return _problem(self._entry, error)
        return None

    def abort(self) -> None:
        with suppress(StorageError):  # what is left of it is no object
            self._bucket.give_up(self._key, self._upload)


class Probe:
    """Objects are up where they are; see engines.base.Probe and Standing."""

    def __init__(self, place: S3Place, at: str, around: Surroundings) -> None:
        self._place = place
        self._at = at
        self._around = around

    @contextmanager
    def open(self) -> Iterator["Probe"]:
        if not self._at.startswith(_SCHEME) and not os.path.isdir(self._at):
            raise TargetRefused(f"{show_path(os.fsencode(self._at))} is not there")
        yield self

    def health(self) -> Health:
        objects = self.counts()["objects"]
        return Health(objects > 0, count(objects, "object", "objects"))

    def counts(self) -> dict[str, int]:
        sizes = self._remote() if self._at.startswith(_SCHEME) else self._local()
        objects = size_bytes = 0
        for size in sizes:
            objects, size_bytes = objects + 1, size_bytes + size
        return {"objects": objects, "bytes": size_bytes}

    def _local(self) -> Iterator[int]:
        for top, _, names in os.walk(os.fsencode(self._at)):
            for name in names:
                yield os.lstat(os.path.join(top, name)).st_size

    def _remote(self) -> Iterator[int]:
        bucket = _bucket(self._place, self._at, self._around)
        try:
            yield from (found.size for found in bucket.objects())
        except StorageError as error:
            raise TargetRefused(error.what, hint=error.hint) from error
        finally:
            bucket.close()

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        raise UsageError("a bucket answers no SQL")

    def newest_mark_ns(self) -> int | None:
        return None

    def interrupt(self) -> None:
        pass  # all that can be asked ends by itself
