"""A program that an engine runs: what it said is heard out."""

import time

from drctl.engines.child import running

TWO_LINES = ("sh", "-c", "sleep 0.1; echo first >&2; echo second >&2; exit 3")


def test_what_one_that_has_ended_said_last_is_told_however_slow_its_listener_is() -> None:
    with running(TWO_LINES, listener=lambda _: time.sleep(0.3)) as child:
        while child.poll() is None:
            time.sleep(0.01)
        assert child.words == "first\nsecond"
        assert child.last_line == "second"


def test_a_listener_may_ask_for_what_was_said() -> None:
    heard: list[str] = []
    with running(TWO_LINES, listener=lambda _: heard.append(child.last_line)) as child:
        assert child.wait(30) == 3
    assert heard == ["first", "second"]
