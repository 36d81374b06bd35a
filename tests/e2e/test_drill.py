"""A drill tells the truth: what came back, how fast, how fresh, and whether that was proven."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from hashlib import sha256
from xml.etree import ElementTree as ET

import pytest
from recoverable import change, drill, lay_out, left, program, reasons

from drctl.removing import remove_all
from drctl.started import born


@pytest.fixture
def ready(bare):
    lay_out(bare)
    return bare


def files_of(top) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}


def test_a_drill_measures_recovers_and_touches_nothing(ready) -> None:
    before = files_of(ready.top / "live") | files_of(ready.top / "offsite/packs")
    found = drill(ready)
    assert files_of(ready.top / "live") | files_of(ready.top / "offsite/packs") == before
    assert found["repository"]["name"] == "offsite"
    by = {(o["what"], o["asset"]): o for o in found["objectives"]}
    assert by["rpa", "base"]["basis"] == "marker"
    assert by["rpa", "tree"]["basis"] == "consistent point"
    assert all(o["answer"] == "met" for o in by.values())
    timing = found["timing"]
    assert (
        0 < timing["restore_seconds"] < timing["rta_seconds"] == by["rta", ""]["measured_seconds"]
    )
    assert [s["step"] for s in timing["critical_path"]][-2:] == ["app", "well"]
    assert found["left_out"] == ["fence"]
    assert not (ready.top / "fenced").exists()
    ran = {"./app": sha256((ready.top / "app").read_bytes()).hexdigest()}  # and not only its name
    assert {s["step"]: s["files"] for s in found["steps"]}["app"] == ran
    assert {c["check"]: c["files"] for c in found["checks"]}["well: command"] == ran


def test_paths_longer_than_the_kernel_takes_are_proven_and_taken_away(ready) -> None:
    here = os.open(ready.top / "live/tree", os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 100, dir_fd=here)
        here, above = os.open("d" * 100, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    with open("deep.txt", "w", opener=partial(os.open, dir_fd=here)) as file:
        file.write("deep\n")
    os.symlink("deep.txt", "link", dir_fd=here)
    os.close(here)
    ready.run("backup")
    checks = {c["check"]: c for c in drill(ready)["checks"]}
    assert all(c["ok"] and c["proves"] for c in checks.values()), checks
    assert left(ready) == []
    assert remove_all(str(ready.top / "live/tree")) == ""  # few others could


def test_nobody_is_asked_in_a_drill_and_its_evidence_says_so(ready) -> None:
    change(ready, "    app: {", "    ask: {approval: oncall, after: [base]}\n    app: {")
    change(ready, "after: [base, tree]", "after: [ask, tree]")
    found = drill(ready)  # without anybody's answer
    assert set(found["left_out"]) == {"ask", "fence"}
    assert found["timing"]["human_seconds"] == 0


def test_every_check_failed_where_it_must(ready) -> None:
    checks = {c["check"]: c for c in drill(ready)["checks"]}
    assert all(c["ok"] and c["proves"] for c in checks.values()), checks
    assert checks["tree 1: compare"]["on_damaged"] == "failed"
    assert checks["base 1: sql"]["on_empty"] == "failed"
    assert checks["base: integrity"]["on_damaged"] == "failed"
    assert checks["well: command"]["on_empty"] == "failed"
    assert {"base: counts", "tree: counts", "tree: integrity"} <= set(checks)


def test_a_recovery_point_that_nothing_measures_names_its_cure(ready) -> None:
    asset = "  cfg: {command: {run: [echo, set], name: cfg.txt}, rpo: 1h, schedule: hourly}\n"
    change(ready, "recovery:\n", f"{asset}recovery:\n")
    change(ready, "    app: {", "    cfg: {restore: cfg, to: live/cfg}\n    app: {")
    ready.run("backup")
    cure = "add a check {asset: cfg, compare: manifest}"
    assert cure in reasons(drill(ready, "missed"))
    assert cure in ready.run("validate").stdout + ready.run("validate").stderr
    change(ready, "checks:\n", "checks:\n  - {asset: cfg, compare: manifest}\n")
    assert "cfg" not in reasons(drill(ready))


def test_the_freshness_is_that_of_the_marker_and_not_of_the_backup(ready) -> None:
    with closing(sqlite3.connect(ready.top / "live/base.db")) as database, database:
        database.execute("update drctl_marker set at_ns = at_ns - 7200 * 1000000000")
        marked = database.execute("select at_ns from drctl_marker").fetchone()[0]
    change(ready, "mark: true", "mark: false")  # the copy is made without a new marker
    ready.run("backup")
    change(ready, "mark: false", "mark: true")
    found = drill(ready, "missed")
    rpa = next(o for o in found["objectives"] if (o["what"], o["asset"]) == ("rpa", "base"))
    declared = _seconds(found["declared_at"])
    assert rpa["measured_seconds"] == pytest.approx(declared - marked / 1e9, abs=0.01)
    assert "RPA of base is 72" in reasons(found)


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_a_random_point_comes_again_with_its_seed(ready) -> None:
    ready.run("backup")
    change(ready, "deny_sites: [here]", "deny_sites: [here], pick: {random_within: 14d}")
    found = drill(ready)
    assert "chosen at random with seed" in found["picked"]
    again = drill(ready, "passed", "--seed", str(found["seed"]))
    assert again["seed"] == found["seed"]
    assert _seconds(found["incident_at"]) <= _seconds(found["declared_at"])


def test_the_screen_is_within_80_columns_and_says_what_was_left_out(ready) -> None:
    said = ready.run("drill", "far").stdout
    assert said.startswith("drill far: PASSED\n")
    assert "the RTA leaves out: fence" in said
    assert "isolation proven: " in said
    assert "torn down: nothing is left" in said
    assert [line for line in said.splitlines() if len(line) > 80 and "/" not in line] == []


def test_junit_holds_every_step_check_and_objective(ready) -> None:
    drill(ready, "passed", "--junit", str(ready.top / "out.xml"))
    suite = ET.parse(ready.top / "out.xml").getroot()  # noqa: S314 - our own
    names = {case.get("name") for case in suite}
    assert {"app", "base 1: sql", "rta", "rpa base", "far"} <= names
    assert suite.get("failures") == "0"


def test_undo_is_drilled_where_the_plan_says_so(ready) -> None:
    change(ready, "deny_sites: [here]", "deny_sites: [here], undo: true")
    assert drill(ready)["undone"] == {"app": ""}
    program(
        ready.top / "app",
        '#!/bin/sh\n[ "$1" != stop ] || exit 3\ntest -s "$DRCTL_AT_TREE/a.txt" && echo up\n',
    )
    assert "undo of app: exit status 3" in reasons(drill(ready, "failed"))


def test_the_programs_of_a_drill_reach_nothing_of_production(ready) -> None:
    program(
        ready.top / "app",
        "#!/bin/sh\ntest ! -e live/tree/sub || exit 1\ntest ! -e local/config || exit 4\n"
        'test ! -s live/base.db || exit 2\ntest -s "$DRCTL_AT_TREE/a.txt" || exit 3\n'
        "(echo gone > live/tree/a.txt) 2>/dev/null\necho up\n",
    )
    found = drill(ready)
    tried = found["isolation"]
    assert tried["proven"]
    assert len(tried["tried"]) == 3
    assert len(tried["reached_from_outside"]) == 3  # so the trial could have failed
    assert (ready.top / "live/tree/a.txt").read_text() == "alpha\n"


def test_a_killed_drill_is_removed_by_the_next_command(ready, stop_at_end) -> None:
    program(
        ready.top / "app",
        '#!/bin/sh\necho $$ > "$DRCTL_DRILL/pid"\n(sleep 600; true) &\nsleep 600\n',
    )
    running = ready.start("drill", "far")
    stop_at_end.append(running)
    home = ready.top / "state/drills"
    deadline = time.monotonic() + 60
    while not (pids := list(home.glob("drill-*/pid"))) or not pids[0].read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(pids[0].read_text())
    assert left(ready)
    running.send_signal(signal.SIGKILL)
    running.wait()
    said = ready.run("snapshots").stderr
    assert "what a drill left there is removed" in said
    assert left(ready) == []
    assert not born(pid)


def test_a_drill_that_lives_is_left_alone_by_other_commands(ready, stop_at_end) -> None:
    program(ready.top / "app", '#!/bin/sh\ntouch "$DRCTL_DRILL/began"\nsleep 600\n')
    running = ready.start("drill", "far")
    stop_at_end.append(running)
    home = ready.top / "state/drills"
    deadline = time.monotonic() + 60
    while not list(home.glob("drill-*/began")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ready.run("snapshots")
    assert left(ready)
    ready.run("drill", "far", code=8)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 130
    assert left(ready) == []


STAYS = """
from drctl.errors import DrctlError
from drctl.ops.recovery.performer import Acting
down = Acting.close
def stays(acting):
    Acting.close = down
    down(acting)
    raise DrctlError("a server of it does not go")
Acting.close = stays
from drctl.cli.main import main
main()
"""


def test_what_a_drill_found_is_kept_although_what_it_put_up_does_not_go(ready) -> None:
    argv, env = [sys.executable, "-c", STAYS, *ready.argv("drill", "far")[3:]], ready.environment()
    done = subprocess.run(argv, env=env, cwd=ready.top, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "did not go, and is ended: a server of it" in done.stderr
    assert ready.json("report", "show")["verdict"] == "passed"
    assert left(ready) == []
