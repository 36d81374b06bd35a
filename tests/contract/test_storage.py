"""Every storage keeps one contract; and the contract's checks notice when it is broken."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drctl.clock import SystemClock, system_randomness
from drctl.storage.base import Buffer, ObjectInfo, Storage
from drctl.storage.cache import Cache
from drctl.storage.contract import CHECKS, run_contract
from drctl.storage.early import Early
from drctl.storage.local import Local
from drctl.storage.memory import Memory
from drctl.storage.meter import Meter
from drctl.storage.retry import Retry
from drctl.storage.s3_lock import Lock


@pytest.fixture(
    params=[
        "memory",
        "local",
        "s3",
        "s3 with a prefix",
        "s3 locked",
        "local wrapped",
        "s3 cached",
        "early",
    ]
)
def storage(request, tmp_path: Path) -> Storage:
    if request.param == "memory":
        return Memory()
    if request.param == "early":
        return Early(Memory(), ("config",), ("", "check-"))
    if request.param.startswith("local"):
        local = Local(str(tmp_path / "repository"))
        local.create()
        return local if request.param == "local" else Retry(Meter(local), SystemClock())
    server = request.getfixturevalue("s3_server")
    if request.param == "s3 locked":
        lock = Lock("COMPLIANCE", 60)
        return server.locked(server.new_bucket(locked=True), "some", lock, SystemClock())
    prefix = "some/prefix" if "prefix" in request.param else ""
    bare = server.storage(server.new_bucket(), prefix)
    if "cached" not in request.param:
        return bare
    return Cache(Retry(bare, SystemClock()), str(tmp_path / "cache"), ("index/", "snapshots/"))


def test_a_storage_keeps_the_whole_contract(storage) -> None:
    results = list(run_contract(storage, system_randomness))
    assert len(results) == len(CHECKS) >= 17
    assert [(result.name, result.detail) for result in results if not result.ok] == []


def test_the_checks_leave_nothing_behind(storage) -> None:
    list(run_contract(storage, system_randomness))
    assert list(storage.list()) == []


class Broken:
    """A storage in memory whose one method is wrong."""

    def __init__(self) -> None:
        self.inner = Memory()
        self.where = "broken"

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self.inner.put(name, data, replace=replace)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.inner.get(name, offset, length)

    def head(self, name: str) -> ObjectInfo:
        return self.inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def delete(self, name: str) -> None:
        self.inner.delete(name)

    def close(self) -> None:
        self.inner.close()


class Overwrites(Broken):
    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self.inner.put(name, data, replace=True)


class NeverReplaces(Broken):
    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        if not replace or name not in [info.name for info in self.inner.list()]:
            self.inner.put(name, data)


class LosesLargeOnes(Broken):
    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self.inner.put(name, bytes(data)[: 1 << 20], replace=replace)


class RangesAreOffByOne(Broken):
    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if length is None:
            return self.inner.get(name, offset)
        return self.inner.get(name, offset, max(0, length - 1))


class ReadsShort(Broken):
    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        whole = self.inner.get(name)
        return whole[offset:] if length is None else whole[offset : offset + length]


class MissingIsEmpty(Broken):
    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name not in [info.name for info in self.inner.list()]:
            return b""
        return self.inner.get(name, offset, length)


class ListsOnePage(Broken):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return iter(list(self.inner.list(prefix))[:1000])


class ListsWithoutPrefix(Broken):
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        return self.inner.list(folder + "/" if folder else "")


class KeepsWhatIsDeleted(Broken):
    def delete(self, name: str) -> None:
        return None


class RefusesToDeleteTwice(Broken):
    def delete(self, name: str) -> None:
        self.inner.head(name)
        self.inner.delete(name)


class TellsWrongSizes(Broken):
    def head(self, name: str) -> ObjectInfo:
        found = self.inner.head(name)
        return ObjectInfo(found.name, found.size_bytes + 1, found.modified_ns)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Overwrites, "nothing is overwritten unless asked"),
        (NeverReplaces, "replacing replaces"),
        (LosesLargeOnes, "16 MiB come back"),
        (RangesAreOffByOne, "ranges are exact"),
        (ReadsShort, "a read is never short"),
        (MissingIsEmpty, "what is missing is said to be missing"),
        (ListsOnePage, "long listings are whole"),
        (ListsWithoutPrefix, "listings are whole, and prefixes work"),
        (KeepsWhatIsDeleted, "deleting deletes, also twice"),
        (RefusesToDeleteTwice, "deleting deletes, also twice"),
        (TellsWrongSizes, "sizes and times are told"),
    ],
)
def test_a_broken_promise_is_named(broken: Callable[[], Storage], promise: str) -> None:
    failed = [result.name for result in run_contract(broken(), system_randomness) if not result.ok]
    assert promise in failed
