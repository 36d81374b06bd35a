"""The real recovery: announced, in order, approved by name, and not stopped by a kill."""

import signal
import sqlite3
import time
from contextlib import closing

import pytest
from recoverable import APP, PLAN, lay_out, lose

REAL = PLAN.replace(
    "    base: {restore: base, after: [fence]}\n",
    "    ask: {approval: oncall, when: [failover], after: [fence]}\n"
    "    base: {restore: base, after: [fence, ask]}\n",
)
SLOW = """\
#!/bin/sh
echo "$1" >> runs
test "$1" != start || test -e go || sleep 600
test -s "$DRCTL_AT_TREE/a.txt" && echo up
"""


@pytest.fixture
def lost(bare):
    """The first site is gone: its data and its repository."""
    lay_out(bare, REAL, SLOW)
    lose(bare.top / "live")
    lose(bare.top / "local")
    return bare


def wait_for(site, step: str, status: str) -> None:
    deadline = time.monotonic() + 90
    while True:
        if (site.top / "state/recoveries/shop").exists():
            steps = site.json("recover", "--watch")["steps"]
            if next(s for s in steps if s["step"] == step)["status"] == status:
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_recovery_survives_a_kill_and_keeps_who_approved_it(lost, stop_at_end) -> None:
    running = lost.start("recover", "--yes")
    stop_at_end.append(running)
    wait_for(lost, "ask", "running")
    lost.run("recover", "--approve", "ask", code=2)  # nobody's name
    lost.run("recover", "--approve", "app", "--by", "Ada", code=2)  # it needs none
    lost.run("recover", "--approve", "ask", "--by", "Ada Lovelace")
    wait_for(lost, "app", "running")
    lost.run("recover", "--resume", code=8)
    running.send_signal(signal.SIGKILL)
    running.wait()
    (lost.top / "go").touch()
    found = lost.json("recover", "--resume")
    steps = {s["step"]: s for s in found["steps"]}
    assert found["ending"] == "done"
    assert steps["ask"]["by"] == "Ada Lovelace"
    assert (steps["base"]["attempts"], steps["app"]["attempts"]) == (1, 2)
    assert found["human_seconds"] > 0
    assert (lost.top / "runs").read_text().split() == ["start", "start", "ask"]
    assert (lost.top / "fenced").exists()
    assert (lost.top / "live/tree/a.txt").read_text() == "alpha\n"
    with closing(sqlite3.connect(lost.top / "live/base.db")) as database:
        assert database.execute("select count(*) from t").fetchone() == (1000,)
    lost.run("recover", "--resume", code=2)  # it has ended


def test_a_recovery_says_what_it_does_and_asks(lost) -> None:
    said = lost.run("recover", code=2).stderr
    assert "this has to be confirmed" in said
    assert not (lost.top / "live").exists()


def test_nothing_that_stands_there_is_overwritten(bare) -> None:
    lay_out(bare, PLAN, APP)
    before = (bare.top / "live/tree/a.txt").read_text()
    found = bare.json("recover", "--yes", "--mode", "planned", code=10)
    assert found["ending"] == "failed"
    assert "nothing is overwritten" in str(found["steps"])
    assert (bare.top / "live/tree/a.txt").read_text() == before


def test_a_cancelled_recovery_is_undone(bare) -> None:
    lay_out(bare, PLAN, SLOW)
    (bare.top / "go").touch()
    text = (bare.top / "plan.yaml").read_text()
    bare.plan(text.replace("    well:", "    hold: {approval: boss, after: [app]}\n    well:"))
    running = bare.start("recover", "--yes", "--mode", "planned", "--to", bare.top / "new")
    wait_for(bare, "hold", "running")
    bare.run("recover", "--cancel", "--by", "Bob")
    assert running.wait(60) == 10
    assert (bare.top / "runs").read_text().split()[-1] == "stop"
    assert bare.json("recover", "--watch", code=10)["cancelled_by"] == "Bob"
