"""A program that an engine runs: what it said is heard out."""

import os
import signal
import subprocess
import time

import pytest

from drctl.engines.child import running

OUTLIVED = ("sh", "-c", "setsid sleep 60 & echo $!; echo said >&2")
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


def test_who_listens_and_fails_leaves_nobody_waiting_for_a_reader() -> None:
    """A pipe takes 64 KiB."""
    heard: list[str] = []

    def fail(line: str) -> None:
        heard.append(line)
        raise ValueError(line)

    talks = ("sh", "-c", "for i in $(seq 20000); do echo line $i; done >&2; exit 3")
    with running(talks, listener=fail) as child, pytest.raises(ValueError, match=r"^line 1$"):
        child.wait(60)
    assert heard == ["line 1"]
    assert child.last_line == "line 20000"


def test_who_outlives_it_in_a_session_of_its_own_and_holds_its_words_open_is_not_waited_for() -> (
    None
):
    begun = time.monotonic()
    with running(OUTLIVED, stdout=subprocess.PIPE) as child:
        holder = int(child.output.readline())
        assert child.wait(30) == 0
        assert child.words == "said"
    try:
        assert time.monotonic() - begun < 40
        os.kill(holder, 0)
    finally:
        os.kill(holder, signal.SIGKILL)
