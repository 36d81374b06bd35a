"""What goes wrong with one asset in a way that nobody foresaw keeps no other from being saved."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from drctl.cli.backup import each
from drctl.clock import SystemClock
from drctl.errors import DrctlError, ExitCode, SourceError
from drctl.events import Event, Notice
from drctl.ops.stream import Bugs, Copying, Ending, next_wait_seconds, stream
from drctl.storage.base import ObjectInfo
from drctl.storage.memory import Memory


def test_a_bug_in_one_engine_keeps_no_other_asset_from_being_saved(
    capsys: pytest.CaptureFixture[str],
) -> None:
    taken: list[str] = []
    warned: list[str] = []

    def take(name: str) -> list:
        if name == "odd":
            raise ValueError("nobody foresaw this")
        if name == "away":
            raise SourceError("away: it is not there")
        taken.append(name)
        return []

    _, failed = each(("odd", "one", "away", "two"), take, warned.append)
    assert taken == ["one", "two"]
    assert failed["odd"].exit_code == ExitCode.BUG
    assert isinstance(failed["odd"], DrctlError)
    assert "nobody foresaw this" in failed["odd"].what
    assert warned[1] == "away: no snapshot: it is not there"
    assert "Traceback" in capsys.readouterr().err


class Odd:
    """Fails at first in a way that nobody foresaw; then it follows until it is told to end."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.calls = 0

    def follow(self, ended: Callable[[], bool]) -> None:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("nobody foresaw this")
        self.ending.asked.set()


class Heard:
    """What was told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.warnings.append(event.text)


def test_a_bug_ends_one_attempt_to_follow_a_log_and_not_the_service() -> None:
    ending, heard = Ending(), Heard()
    shown: list[Exception] = []
    odd = Odd(ending)
    with ThreadPoolExecutor(1) as pool:
        copying = Copying(Memory(), (), pool, 10.0, Bugs(shown.append))
        stream([("odd", odd)], copying, ending, SystemClock(), heard)
    assert odd.calls == 2
    assert "ValueError: nobody foresaw this; trying again" in heard.warnings[0]
    assert [error.__traceback__ is not None for error in shown] == [True]


def test_a_stream_is_never_deaf_for_long_and_soon_back_where_it_went_well() -> None:
    waits = [0.0]
    for lasted in (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 6.0, 0.1):
        waits.append(next_wait_seconds(waits[-1], lasted))
    assert waits[1:] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 1.0, 2.0]


class OddMemory(Memory):
    """A storage in which there is a bug."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise ValueError(f"nobody foresaw {prefix}")


def test_a_bug_in_copying_logs_is_shown_once_and_keeps_no_other_copy_from_its_turn() -> None:
    heard, sound = Heard(), Memory()
    shown: list[Exception] = []
    with ThreadPoolExecutor(1) as pool:
        copying = Copying(Memory(), (OddMemory(), sound), pool, 10.0, Bugs(shown.append))
        for _ in range(2):
            copying.once(heard)
    assert len(heard.warnings) == 2
    assert "is behind: a bug in drctl" in heard.warnings[1]
    assert len(shown) == 1
