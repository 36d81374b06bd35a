"""A bucket: the objects of an S3 storage, with what they bear beside their content.

All of it is listed first, then what is new or changed is read, each object only as long as it is
the one that was listed. A versioned bucket is read as it stood at one instant; another one as it
stood when each page of the listing came.
"""

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

from msgspec.structs import replace
from pydantic import Field

from drctl.codec.limits import SMALL_BYTES
from drctl.engines.base import Engine, Surroundings
from drctl.engines.patterns import Excluded, Patterns, compile_patterns
from drctl.engines.s3bucket_client import Bucket, Xattrs, connect, is_of_one_object
from drctl.engines.s3bucket_order import Listed, Order, ordered, path_of
from drctl.engines.s3bucket_place import S3Place
from drctl.engines.s3bucket_target import Probe, target
from drctl.errors import AlreadyExists, NotFound, SourceError, StorageError
from drctl.model import Entry, Kind

_AT_ONCE = 8  # requests under way
_AHEAD = 16  # small objects that are read before they are asked for
_PIECE_BYTES = 8 << 20
_CHANGED = "it was changed before it could be read whole"
_VANISHED = "it vanished before it could be read whole"


class Settings(S3Place):
    """What the plan says under `s3bucket`."""

    exclude: Patterns = Field(
        default=(), description="Patterns of what is left out, as in .gitignore."
    )


class Source:
    """Reads a bucket; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        bucket = connect(self._settings, self._around)
        work = ThreadPoolExecutor(_AT_ONCE, "drctl-s3bucket")
        try:
            with ordered(self._around.scratch) as order:
                is_versioned, at_ns = self._list(bucket, order)
                yield _Capture(_Reading(bucket, self._asset, work), order, is_versioned, at_ns)
        finally:
            work.shutdown(cancel_futures=True)
            bucket.close()

    def _list(self, bucket: Bucket, order: Order) -> tuple[bool, int]:
        """Fill in what there is. Gives whether the bucket keeps versions, and the instant."""
        excluded = compile_patterns(self._settings.exclude)
        now_ns = self._around.clock.now_ns
        with _telling(self._asset):
            at_ns, is_versioned = now_ns(), bucket.keeps_versions()
            found = bucket.objects()
            if is_versioned:
                end_ns = bucket.after_this_second()
                at_ns, found = min(end_ns, now_ns()), bucket.versions(end_ns)
            for listed in found:
                path = path_of(listed.key)
                if not _is_left_out(path, excluded):
                    order.add(path, listed)
            order.settle()
        return is_versioned, at_ns


def _is_left_out(path: bytes, excluded: Excluded) -> bool:
    """As a tree would be walked: what is below something that is left out is left out, too."""
    if not excluded.anything and not excluded.directories:
        return False
    parts = path.split(b"/")
    above = [b"/".join(parts[:depth]) for depth in range(1, len(parts))]
    tests = [test for test in (excluded.anything, excluded.directories) if test]
    if any(test(directory) for test in tests for directory in above):
        return True
    return bool(excluded.anything and excluded.anything(path))


@contextmanager
def _telling(asset: str) -> Iterator[None]:
    """What a storage would say of itself, said of the asset."""
    try:
        yield
    except StorageError as error:
        raise SourceError(f"{asset}: {error.what}", hint=error.hint) from error


class _Capture:
    """A bucket that was listed; see engines.base.Capture."""

    def __init__(self, reading: "_Reading", order: Order, is_versioned: bool, at_ns: int) -> None:
        self.consistent_at_ns = at_ns
        self.facts = {"versioned": "yes" if is_versioned else "no"}
        self._reading = reading
        self._order = order

    @property
    def private_facts(self) -> dict[str, str]:
        objects = self._order.objects - self._reading.lost
        size_bytes = self._order.size_bytes - self._reading.lost_bytes
        return {
            "counts": json.dumps({"objects": objects, "bytes": size_bytes}),
            "bucket": self._reading.bucket.where,
        }

    def items(self) -> Iterator["_Item"]:
        """Small objects are read ahead, as many as were read one after the other until now: what
        did not change is not to be paid for."""
        found = (_Item(path, listed, self._reading) for path, listed in self._order.read())
        ahead: deque[_Item] = deque(islice(found, _AHEAD))
        run = 0
        while ahead:
            item = ahead.popleft()
            yield item
            ahead.extend(islice(found, 1))
            run = min(run + 1, _AHEAD) if item.was_read else 0
            for later in islice(ahead, run):
                later.begin()


class _Reading:
    """What the items of a capture share."""

    def __init__(self, bucket: Bucket, asset: str, work: Executor) -> None:
        self.bucket = bucket
        self.work = work
        self.lost = self.lost_bytes = 0  # objects and bytes that could not be had
        self._asset = asset

    def part(self, found: Listed, offset: int, length: int) -> tuple[Xattrs, bytes] | str:
        """A part of an object, and at its beginning its attributes; or why it cannot be had.
        Raises SourceError when that is no matter of this object alone."""
        try:
            answer, data = self.bucket.read(found, offset, length)
            return () if offset else self.bucket.xattrs(found, answer), data
        except NotFound:
            return _VANISHED
        except AlreadyExists:  # the answer to a condition that is not met
            return _CHANGED
        except StorageError as error:
            if is_of_one_object(error):
                return f"it cannot be read: {error.what}"
            raise SourceError(f"{self._asset}: {error.what}", hint=error.hint) from error

    def missed(self, entry: Entry, got: int, why: str) -> Entry:
        """The entry of what could not be read whole."""
        self.lost += 0 if got else 1
        self.lost_bytes += entry.size - got
        return replace(entry, size=got, problem=why)


class _Item:
    """One object, and its content; see engines.base.Item and Content."""

    __slots__ = ("_begun", "_found", "_reading", "path", "was_read")

    block_bytes = 0

    def __init__(self, path: bytes, found: Listed, reading: _Reading) -> None:
        self.path = path
        self.was_read = False
        self._found = found
        self._reading = reading
        self._begun: Future[tuple[Xattrs, bytes] | str] | None = None

    @property
    def signature(self) -> bytes:
        found = self._found
        return f"{found.etag} {found.size} {found.modified_ns} {found.version}".encode()

    @property
    def content(self) -> "_Item | None":
        return self if self._found.size else None

    @property
    def size_hint(self) -> int:
        return self._found.size

    def entry(self) -> Entry:
        """An empty object is asked for its attributes; any other tells them with its content."""
        found = self._found
        entry = Entry(self.path, int(Kind.FILE), 0o600, mtime_ns=found.modified_ns, size=found.size)
        return entry if found.size else self.load(entry)[0]

    def begin(self) -> None:
        """Read it, if it is small, before it is asked for."""
        if self._begun is None and self._found.size <= SMALL_BYTES:
            self._begun = self._reading.work.submit(self._whole)

    def _whole(self) -> tuple[Xattrs, bytes] | str:
        return self._reading.part(self._found, 0, self._found.size)

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        self.was_read = True
        got = self._begun.result() if self._begun else self._whole()
        if isinstance(got, str):
            return self._reading.missed(entry, 0, got), b""
        xattrs, data = got
        return replace(entry, xattrs=xattrs), data

    def stream(self, entry: Entry) -> "_Stream":
        self.was_read = True
        return _Stream(entry, self._found, self._reading)


class _Stream:
    """A large object in parts, some of them under way; see engines.base.Stream."""

    def __init__(self, entry: Entry, found: Listed, reading: _Reading) -> None:
        self.entry = entry
        self._found = found
        self._reading = reading

    def __iter__(self) -> Iterator[bytes]:
        read, found = self._reading.work.submit, self._found
        starts = iter(range(0, found.size, _PIECE_BYTES))
        waiting: deque[Future[tuple[Xattrs, bytes] | str]] = deque()
        offset = 0
        while True:
            for start in islice(starts, _AT_ONCE // 2 - len(waiting)):
                length = min(_PIECE_BYTES, found.size - start)
                waiting.append(read(self._reading.part, found, start, length))
            if not waiting:
                return
            got = waiting.popleft().result()
            if isinstance(got, str):
                self.entry = self._reading.missed(self.entry, offset, got)
                return
            xattrs, data = got
            self.entry = replace(self.entry, xattrs=xattrs) if xattrs else self.entry
            offset += len(data)
            yield data


ENGINE = Engine("s3bucket", Settings, Source, target, Probe)
