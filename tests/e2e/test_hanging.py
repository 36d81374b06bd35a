"""A check that never ends holds no drill up: not its time limit, and nobody who wants it to end."""

import signal
import time

import pytest
from recoverable import change, drill, lay_out, left

ENDLESS = "with recursive r(x) as (select 1 union all select x + 1 from r) select count(*) from r"


@pytest.fixture
def endless(bare):
    """A plan with a check that computes for ever."""
    lay_out(bare)
    change(bare, "checks:\n", f'checks:\n  - {{asset: base, sql: "{ENDLESS}", expect: 1}}\n')
    return bare


def test_a_check_that_never_ends_is_ended_and_named(endless) -> None:
    change(endless, "{restore: base, ", "{restore: base, timeout: 4s, ")
    found = drill(endless, "failed")
    checks = {c["check"]: c for c in found["checks"]}
    assert checks["base: integrity"]["ok"]
    assert checks["base 1: sql"]["found"] == "it did not end within 4.0s"
    assert checks["base 2: sql"]["found"] == "nothing was asked: it did not end within 4.0s"
    proof = next(s for s in found["steps"] if s["step"] == "base.proof")
    assert 4 <= proof["seconds"] < 30
    assert "RPA of base is unknown, and unknown never passes: its proof did not pass" in str(
        found["reasons"]
    )


def test_a_drill_ends_when_it_is_told_to_though_a_check_does_not(endless) -> None:
    running = endless.start("drill", "far")
    journals = endless.top / "state/drills"
    deadline = time.monotonic() + 60
    while not any(b"base.proof" in p.read_bytes() for p in journals.glob("drill-*/run/journal")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)  # until it asks
    running.send_signal(signal.SIGTERM)
    assert running.wait(30) == 130
    assert left(endless) == []
