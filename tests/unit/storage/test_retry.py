"""What passes is tried again, with growing waits; what does not is told at once."""

import pytest

from drctl.errors import AlreadyExists, StorageError, StorageFault
from drctl.storage.faulty import Fault, Faulty
from drctl.storage.memory import Memory
from drctl.storage.retry import Retry


class Waiting:
    """A clock that only remembers how long it was asked to sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return 0

    def monotonic_seconds(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Down(Memory):
    """Fails a number of times, then works."""

    def __init__(self, faults: int, kind: type[StorageError] = StorageFault) -> None:
        super().__init__()
        self.faults = faults
        self.kind = kind
        self.calls = 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.calls += 1
        if self.calls <= self.faults:
            raise self.kind("the server said 503")
        return super().get(name, offset, length)


def test_a_passing_fault_is_tried_again() -> None:
    clock, inner = Waiting(), Down(3)
    inner.put("name", b"data")
    assert Retry(inner, clock).get("name") == b"data"
    assert inner.calls == 4
    assert len(clock.slept) == 3


def test_a_final_failure_is_told_at_once() -> None:
    clock, inner = Waiting(), Down(1, StorageError)
    with pytest.raises(StorageError, match="503"):
        Retry(inner, clock).get("name")
    assert (inner.calls, clock.slept) == (1, [])


def test_it_gives_up_and_names_the_cause() -> None:
    clock, inner = Waiting(), Down(1000)
    with pytest.raises(StorageFault, match="503"):
        Retry(inner, clock).get("name")
    assert inner.calls == 8
    assert max(clock.slept) <= 20


def test_an_answer_that_was_lost_is_no_failure() -> None:
    """The object was put, the answer was lost; the second try finds its own object."""
    faulty = Faulty(Memory(), Fault.LOSE_ANSWER, 0)
    retry = Retry(faulty, Waiting())
    retry.put("name", b"data")
    assert retry.get("name") == b"data"


def test_an_object_of_somebody_else_is_not_taken_for_ours() -> None:
    memory = Memory()
    memory.put("name", b"theirs")
    with pytest.raises(AlreadyExists):
        Retry(Faulty(memory, Fault.FAIL_ONCE, 0), Waiting()).put("name", b"ours")
    assert memory.get("name") == b"theirs"


def test_a_listing_that_breaks_off_is_whole_and_tells_nothing_twice() -> None:
    class Breaking(Memory):
        broken = False

        def list(self, prefix: str = ""):
            for i, info in enumerate(super().list(prefix)):
                if i == 1500 and not self.broken:
                    self.broken = True
                    raise StorageFault("reset")
                yield info

    inner = Breaking()
    for i in range(3000):
        inner.put(f"x/{i}", b"")
    listed = [info.name for info in Retry(inner, Waiting()).list("x/")]
    assert inner.broken
    assert len(listed) == len(set(listed)) == 3000


def test_a_storage_that_is_dead_is_told_once_and_others_do_not_try_for_as_long() -> None:
    clock, inner, told = Waiting(), Down(8 + 2 + 1), []
    inner.put("name", b"data")
    storage = Retry(inner, clock, tell=told.append)
    for calls in (8, 9, 10):
        with pytest.raises(StorageFault):
            storage.get("name")
        assert inner.calls == calls
    assert len(told) == 1
    assert "does not answer" in told[0]
    assert "503" in told[0]
    with pytest.raises(StorageFault):
        storage.get("name")
    assert storage.get("name") == b"data"
    inner.faults = inner.calls + 3
    assert storage.get("name") == b"data", "it lives again, and has its patience"


def test_one_call_that_is_given_up_takes_no_patience_from_a_storage_that_answers() -> None:
    class Partly(Down):
        """One object never comes; others do meanwhile."""

        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name == "never":
                clock.sleep(1)
                storage.get("name")
                raise StorageFault("the server said 503")
            return super().get(name, offset, length)

    clock, inner = Waiting(), Partly(0)
    inner.put("name", b"data")
    storage = Retry(inner, clock)
    with pytest.raises(StorageFault):
        storage.get("never")
    inner.faults = inner.calls + 3
    assert storage.get("name") == b"data"
