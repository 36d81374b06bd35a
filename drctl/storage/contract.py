"""The contract of a storage as checks that run anywhere: in the tests over every storage, and for
users as `drctl storage check` against the one they have.

Each check has a folder of its own below a scratch prefix, and is named after the promise it tries.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from msgspec import Struct

from drctl.clock import Randomness
from drctl.errors import AlreadyExists, DrctlError, NotFound, StorageError
from drctl.storage.base import Storage

_LARGE_BYTES = 16 << 20


class BrokenPromise(Exception):
    """A check found that the storage does not keep its contract."""


class CheckResult(Struct, frozen=True):
    """`name` is the promise; `detail` says how it was broken."""

    name: str
    ok: bool
    detail: str
    seconds: float


class Scene(Struct, frozen=True):
    """What a check works with: the storage, a prefix of its own, randomness."""

    storage: Storage
    prefix: str
    randomness: Randomness

    def name(self, tail: str) -> str:
        return self.prefix + tail

    def put(self, tail: str, data: bytes) -> str:
        name = self.name(tail)
        self.storage.put(name, data)
        return name

    def listed(self, tail: str = "") -> list[str]:
        """What is there, sorted here."""
        return sorted(i.name[len(self.prefix) :] for i in self.storage.list(self.name(tail)))


def expect(holds: bool, what: str) -> None:
    """Raises BrokenPromise unless it holds."""
    if not holds:
        raise BrokenPromise(what)


@contextmanager
def refused(kind: type[DrctlError], what: str) -> Iterator[None]:
    """The block must raise this kind of error."""
    try:
        yield
    except kind:
        return
    raise BrokenPromise(what)


def _round_trip(s: Scene) -> None:
    for size in (0, 1, 70_000):
        data = s.randomness(size)
        name = s.put(f"size-{size}", data)
        expect(s.storage.get(name) == data, f"an object of {size} bytes came back different")


def _large(s: Scene) -> None:
    data = s.randomness(_LARGE_BYTES)
    expect(s.storage.get(s.put("large", data)) == data, "16 MiB came back different")


def _any_buffer(s: Scene) -> None:
    data = s.randomness(1000)
    s.storage.put(s.name("view"), memoryview(data)[10:20])
    s.storage.put(s.name("array"), bytearray(data))
    expect(s.storage.get(s.name("view")) == data[10:20], "a memoryview was stored wrongly")
    expect(s.storage.get(s.name("array")) == data, "a bytearray was stored wrongly")


def _no_overwriting(s: Scene) -> None:
    name = s.put("once", b"first")
    with refused(AlreadyExists, "a second put of the same name was not refused"):
        s.storage.put(name, b"second")
    expect(s.storage.get(name) == b"first", "a refused put changed the object")


def _replace(s: Scene) -> None:
    name = s.put("changing", b"first")
    s.storage.put(name, b"second, longer", replace=True)
    expect(s.storage.get(name) == b"second, longer", "a replaced object still has its old bytes")
    expect(s.listed("changing") == ["changing"], "a replaced object is listed twice")


def _one_winner(s: Scene) -> None:
    def race(value: bytes) -> bytes | None:
        try:
            s.storage.put(s.name("race"), value)
        except AlreadyExists:
            return None
        return value

    with ThreadPoolExecutor(8) as pool:
        winners = [v for v in pool.map(race, (b"%d" % i for i in range(8))) if v is not None]
    expect(len(winners) == 1, f"{len(winners)} of 8 racing puts were told that they won")
    expect(s.storage.get(s.name("race")) == winners[0], "the winner's bytes are not there")


def _whole_while_replaced(s: Scene) -> None:
    old, new = b"o" * 200_000, b"n" * 300_000
    name = s.put("swapped", old)

    def write() -> None:
        for i in range(10):
            s.storage.put(name, old if i % 2 else new, replace=True)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not writing.done():
            expect(s.storage.get(name) in {old, new}, "a reader saw a mixture of old and new")
        writing.result()


def _ranges(s: Scene) -> None:
    data = s.randomness(10_000)
    name = s.put("ranged", data)
    for offset, length in ((0, 1), (9_999, 1), (123, 4_567), (0, 10_000), (10_000, 0), (5, 0)):
        got = s.storage.get(name, offset, length)
        expect(got == data[offset : offset + length], f"bytes {offset}+{length} came back wrong")
    expect(s.storage.get(name, 4_000) == data[4_000:], "the rest from an offset came back wrong")


def _never_short(s: Scene) -> None:
    name = s.put("short", b"x" * 100)
    for offset, length in ((0, 101), (50, 51), (100, 1), (200, 10), (101, 0)):
        with refused(StorageError, f"bytes {offset}+{length} of 100 were not refused"):
            s.storage.get(name, offset, length)


def _not_found(s: Scene) -> None:
    with refused(NotFound, "get of a missing object did not say NotFound"):
        s.storage.get(s.name("missing"))
    with refused(NotFound, "a ranged get of a missing object did not say NotFound"):
        s.storage.get(s.name("missing"), 0, 10)
    with refused(NotFound, "head of a missing object did not say NotFound"):
        s.storage.head(s.name("missing"))


def _head(s: Scene) -> None:
    first = s.storage.head(s.put("first", b"12345"))
    expect(first.size_bytes == 5, f"head says {first.size_bytes} bytes instead of 5")
    expect(first.name == s.name("first"), "head gives another name")
    second = s.storage.head(s.put("second", b""))
    expect(second.modified_ns >= first.modified_ns, "a later object is older by its clock")


def _listing(s: Scene) -> None:
    tails = ["a-b", "a.b", "a/b-c", "a/b/c", "a/b0", "a0", "ab", "b/1", "b/10", "b/2", "Z"]
    for tail in tails:
        s.put(tail, tail.encode())
    expect(s.listed() == sorted(tails), f"the listing is not whole: {s.listed()}")
    for prefix in ("a", "a/", "a/b", "b/1", "missing", "a/b/"):
        wanted = sorted(t for t in tails if t.startswith(prefix))
        expect(s.listed(prefix) == wanted, f"prefix '{prefix}' gave {s.listed(prefix)}")
    sizes = {i.name: i.size_bytes for i in s.storage.list(s.name("a"))}
    expect(sizes[s.name("a-b")] == 3, "a listed size is wrong")


def _long_listing(s: Scene) -> None:
    tails = sorted(f"many/{i % 16:x}/{i:05d}" for i in range(2_200))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tail: s.put(tail, b""), tails))
    expect(s.listed("many/") == tails, "a listing of 2,200 objects is not whole")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda tail: s.storage.delete(s.name(tail)), tails))


def _seen_at_once(s: Scene) -> None:
    for i in range(20):
        tail = f"seen-{i:02d}"
        s.put(tail, b"x")
        expect(s.listed(tail) == [tail], "an object was not listed right after its put")


def _delete(s: Scene) -> None:
    name = s.put("doomed", b"x")
    s.storage.delete(name)
    with refused(NotFound, "a deleted object is still there"):
        s.storage.get(name)
    expect(s.listed("doomed") == [], "a deleted object is still listed")
    s.storage.delete(name)
    s.storage.put(name, b"again")
    expect(s.storage.get(name) == b"again", "a name cannot be used again after a delete")


def _names(s: Scene) -> None:
    for tail in (
        "UPPER",
        "with-dash",
        "with_underscore",
        "with.dot",
        "0123",
        "deep/er/and/er",
        "f" * 128,
    ):
        expect(
            s.storage.get(s.put(tail, tail.encode())) == tail.encode(), f"'{tail}' does not work"
        )


def _threads(s: Scene) -> None:
    def work(number: int) -> bool:
        data = bytes([number]) * 50_000
        name = s.put(f"thread-{number:02d}", data)
        return s.storage.get(name) == data and s.storage.get(name, 10, 20) == data[10:30]

    with ThreadPoolExecutor(8) as pool:
        expect(all(pool.map(work, range(32))), "parallel use mixed objects up")


CHECKS: tuple[tuple[str, Callable[[Scene], None]], ...] = (
    ("what is put comes back", _round_trip),
    ("16 MiB come back", _large),
    ("any buffer can be put", _any_buffer),
    ("nothing is overwritten unless asked", _no_overwriting),
    ("replacing replaces", _replace),
    ("of racing writers exactly one wins", _one_winner),
    ("readers see old or new, never a mixture", _whole_while_replaced),
    ("ranges are exact", _ranges),
    ("a read is never short", _never_short),
    ("what is missing is said to be missing", _not_found),
    ("sizes and times are told", _head),
    ("listings are whole, and prefixes work", _listing),
    ("long listings are whole", _long_listing),
    ("an object is listed as soon as it is put", _seen_at_once),
    ("deleting deletes, also twice", _delete),
    ("all names that drctl makes work", _names),
    ("many threads may work at once", _threads),
)


def run_contract(storage: Storage, randomness: Randomness) -> list[CheckResult]:
    """Every check, in a scratch folder that is removed again."""
    prefix = f"check-{randomness(8).hex()}/"
    try:
        return [
            _run(name, check, Scene(storage, f"{prefix}{number:02d}/", randomness))
            for number, (name, check) in enumerate(CHECKS)
        ]
    finally:
        with suppress(StorageError):
            for info in list(storage.list(prefix)):
                storage.delete(info.name)


def _run(name: str, check: Callable[[Scene], None], scene: Scene) -> CheckResult:
    began = time.monotonic()
    detail = ""
    try:
        check(scene)
    except BrokenPromise as broken:
        detail = str(broken)
    except DrctlError as error:
        detail = f"unexpected error: {error}"
    return CheckResult(name, not detail, detail, time.monotonic() - began)
