"""What goes wrong with one asset in a way that nobody foresaw keeps no other from being saved."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from drctl.cli.backup import each
from drctl.clock import SystemClock
from drctl.errors import DrctlError, ExitCode, SourceError
from drctl.events import Event, Notice
from drctl.ops.stream import Copying, Ending, stream
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
    odd = Odd(ending)
    with ThreadPoolExecutor(1) as pool:
        copying = Copying(Memory(), (), pool, 10.0)
        stream([("odd", odd)], copying, ending, SystemClock(), heard)
    assert odd.calls == 2
    assert "ValueError: nobody foresaw this; trying again" in heard.warnings[0]
