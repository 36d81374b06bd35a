"""A pace is kept, by every thread together, and by the clock that was given."""

import threading
from concurrent.futures import ThreadPoolExecutor

from drctl.clock import SystemClock
from drctl.engines import files
from drctl.engines.base import Surroundings
from drctl.engines.throttle import Throttled
from drctl.events import Silent
from drctl.storage.memory import Memory
from drctl.storage.throttle import Pace, Throttle


class Hands:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def now_ns(self) -> int:
        return round(self.seconds * 1e9)

    def monotonic_seconds(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.seconds += seconds


def test_bytes_take_their_time_and_a_pause_gives_no_burst() -> None:
    clock = Hands()
    pace = Pace(1000, clock)
    for _ in range(10):
        pace.take(500)
    assert clock.seconds == 5.0
    clock.seconds += 60
    pace.take(2000)
    assert clock.slept[-1] == 2.0


def test_time_spent_on_the_transfer_itself_counts() -> None:
    clock = Hands()
    pace = Pace(1000, clock)
    pace.take(1000)
    clock.seconds += 0.75
    pace.take(500)
    assert clock.slept == [1.0, 0.5]


def test_writes_are_held_and_nothing_else_is() -> None:
    clock = Hands()
    storage = Throttle(Memory(), write=Pace(100, clock))
    storage.put("a", b"x" * 250)
    assert storage.get("a") == b"x" * 250
    assert storage.head("a").size_bytes == 250
    assert [info.name for info in storage.list()] == ["a"]
    storage.delete("a")
    assert clock.slept == [2.5]


def test_what_is_read_is_held_and_what_is_taken_over_unread_is_not(tmp_path) -> None:
    (tmp_path / "small").write_bytes(b"s" * 1000)
    (tmp_path / "large").write_bytes(b"l" * 3_000_000)
    clock = Hands()
    around = Surroundings(SystemClock(), Silent(), str(tmp_path), str(tmp_path))
    source = files.Source(files.Settings(paths=(str(tmp_path),)), "tree", around)
    with Throttled(source, Pace(1_000_000, clock)).open() as capture:
        assert capture.consistent_at_ns > 0
        items = list(capture.items())
        assert clock.slept == []
        read = {item.path: item for item in items}
        for path in (b"small", b"large"):
            item = read[path]
            assert item.content
            stream = item.content.stream(item.entry())
            assert len(b"".join(map(bytes, stream))) == stream.entry.size
        assert set(capture.facts) == {"paths"}  # what it wraps tells
        assert "roots" in capture.private_facts
    assert abs(clock.seconds - 3.001) < 1e-6


def test_a_real_clock_holds_many_threads_to_one_pace() -> None:
    clock = SystemClock()
    pace = Pace(4_000_000, clock)
    began = clock.monotonic_seconds()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(pace.take, [100_000] * 16))
    assert clock.monotonic_seconds() - began >= 0.4
