"""The real recovery: announced, in order, approved by name, and not stopped by a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from recoverable import PLAN, change, lay_out, lose, program

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
        if list((site.top / "state/recoveries/shop").glob("*/order.json")):
            steps = site.json("recover", "--watch")["steps"]
            if next(s for s in steps if s["step"] == step)["status"] == status:
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def wait_until_it_wrote(file: Path, word: str) -> None:
    """A step is told to run a moment before its program begins."""
    deadline = time.monotonic() + 60
    while not (file.exists() and word in file.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_recovery_survives_a_kill_and_keeps_who_approved_it(lost, stop_at_end) -> None:
    running = lost.start("recover", "--yes")
    stop_at_end.append(running)
    wait_for(lost, "ask", "running")
    lost.run("recover", "--approve", "ask", code=2)  # nobody's name
    lost.run("recover", "--approve", "app", "--by", "Ada", code=2)  # it needs none
    lost.run("recover", "--approve", "ask", "--by", "Ada Lovelace")
    wait_for(lost, "app", "running")
    lost.run("recover", "--resume", code=8)
    said = lost.run("recover", "--yes", code=8).stderr
    assert "a recovery of this plan is already running here" in said
    wait_until_it_wrote(lost.top / "runs", "start")
    running.send_signal(signal.SIGKILL)
    running.wait()
    watched = lost.run("recover", "--watch")
    assert ": cut off" in watched.stdout
    assert "nobody carries it out now" in watched.stderr
    (run,) = (path.name for path in (lost.top / "state/recoveries/shop").glob("*-*"))
    said = lost.run("recover", "--yes", code=2).stderr  # nobody fences twice without a word
    assert f"(run {run}) has not ended" in said
    assert "--anew" in said
    said = lost.run("recover", "--resume", "--to", "elsewhere", code=2).stderr
    assert "--to says nothing to --resume" in said
    assert (
        "either --resume or --cancel" in lost.run("recover", "--resume", "--cancel", code=2).stderr
    )
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
    shown = lost.run("report", "show").stdout
    assert "failover: PASSED" in shown
    assert "RPA base" in shown
    evidence = lost.json("report", "show", "--html", "page.html")
    assert "Recovery, failover, of shop" in (lost.top / "page.html").read_text()
    assert {s["step"]: s["by"] for s in evidence["steps"]}["ask"] == "Ada Lovelace"
    assert evidence["snapshots"][0]["asset"] == "base"
    lost.run("report", "verify", "state/evidence/shop")


def test_a_recovery_says_what_it_does_and_asks(lost) -> None:
    said = lost.run("recover", code=2).stderr
    assert "this has to be confirmed" in said
    assert f"to {lost.top}/live/base.db" in said
    assert not (lost.top / "live").exists()


def test_nothing_that_stands_there_is_overwritten(bare) -> None:
    lay_out(bare, PLAN, SLOW)
    (bare.top / "go").touch()
    before = (bare.top / "live/tree/a.txt").read_text()
    for mode in ("planned", "failover"):
        said = bare.run("recover", "--yes", "--mode", mode, code=9).stderr
        assert f"base: {bare.top}/live/base.db, tree: {bare.top}/live/tree" in said
        assert "existing: set_aside" in said
    assert not (bare.top / "fenced").exists()  # not a step was begun
    assert (bare.top / "live/tree/a.txt").read_text() == before
    lose(bare.top / "live/base.db")
    change(bare, "{restore: tree, ", "{restore: tree, existing: set_aside, ")
    assert bare.json("recover", "--yes", "--mode", "planned")["ending"] == "done"
    (run,) = (bare.top / "state/recoveries/shop").glob("*-*")
    (run / "journal").unlink()  # as of one that was killed before its first word
    found = bare.json("recover", "--resume", code=10)
    base = next(s for s in found["steps"] if s["step"] == "base")
    assert "base.db is there already, and nothing is overwritten" in base["what"]
    assert found["machine_seconds"] < 600


def backup_as_a_user(bare) -> None:
    """Root reads everything, so somebody else has to make the snapshot."""
    if os.geteuid():
        bare.run("backup", code=11)
        return
    for above in (bare.top, *bare.top.parents):
        if above != Path("/"):
            above.chmod(above.stat().st_mode | 0o111)
    script = str(Path(__file__).parent / "as_user.py")
    words = [sys.executable, script, "65534", "drctl", *bare.argv("backup")[3:]]
    own(bare.top, 65534)
    done = subprocess.run(words, env=bare.environment(), cwd=bare.top, check=False)
    own(bare.top, 0)
    assert done.returncode == 11


def own(top: Path, uid: int) -> None:
    for path in [top, *top.rglob("*")]:
        os.chown(path, uid, uid, follow_symlinks=False)


def test_what_was_not_saved_is_told_and_holds_nothing_up(bare) -> None:
    lay_out(bare, PLAN, SLOW)
    (bare.top / "go").touch()
    for name in ("b", "locked"):
        (bare.top / f"live/tree/{name}").write_text("nobody reads this")
        (bare.top / f"live/tree/{name}").chmod(0)
    os.link(bare.top / "live/tree/locked", bare.top / "live/tree/locked-too")
    backup_as_a_user(bare)
    steps = bare.json("recover", "--yes", "--mode", "planned", "--to", bare.top / "new")["steps"]
    proof = next(s for s in steps if s["step"] == "tree.proof")
    assert proof["status"] == "done"
    assert "3 entries were not saved: b, locked, locked-too" in proof["what"]
    assert not (bare.top / "new/tree/b").exists()
    evidence = bare.json("report", "show")
    assert evidence["verdict"] == "failed"
    assert "tree: not as saved: b: " in "".join(evidence["reasons"])


STAYS = """
from drctl.errors import DrctlError
from drctl.ops.recovery.performer import Acting
down = Acting.close
def stays(acting):
    down(acting)
    raise DrctlError("a server of it does not go")
Acting.close = stays
from drctl.cli.main import main
main()
"""


def test_a_recovery_leaves_evidence_although_what_it_put_up_does_not_go(bare) -> None:
    lay_out(bare, PLAN, SLOW)
    (bare.top / "go").touch()
    words = bare.argv("recover", "--yes", "--mode", "planned", "--to", bare.top / "new")[3:]
    argv, env = [sys.executable, "-c", STAYS, *words], bare.environment()
    done = subprocess.run(argv, env=env, cwd=bare.top, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a server of it does not go" in done.stderr
    assert bare.json("report", "show")["verdict"] == "passed"
    assert "failover" not in bare.run("recover", "--watch").stdout


def test_a_cancelled_recovery_is_undone(bare) -> None:
    lay_out(bare, PLAN, SLOW)
    (bare.top / "go").touch()
    text = (bare.top / "plan.yaml").read_text()
    bare.plan(text.replace("    well:", "    hold: {approval: boss, after: [app]}\n    well:"))
    running = bare.start("recover", "--yes", "--mode", "planned", "--to", bare.top / "new")
    wait_for(bare, "hold", "running")
    said = bare.run("recover", "--cancel", "--by", "Bob").stdout
    assert "the recovery (planned) declared" in said
    assert running.wait(60) == 10
    assert (bare.top / "runs").read_text().split()[-1] == "stop"
    assert bare.json("recover", "--watch", code=10)["cancelled_by"] == "Bob"


def test_a_recovery_is_begun_anew_when_that_is_said_and_what_was_left_is_ended(lost) -> None:
    running = lost.start("recover", "--yes")
    wait_for(lost, "ask", "running")
    lost.run("recover", "--approve", "ask", "--by", "Ada")
    wait_for(lost, "app", "running")
    running.send_signal(signal.SIGKILL)
    running.wait()
    (lost.top / "go").touch()
    found = lost.json("recover", "--yes", "--anew", "--mode", "planned", "--to", lost.top / "new")
    assert found["ending"] == "done"
    asleep = subprocess.run(["pgrep", "-f", "app start"], capture_output=True, check=False)
    places = []
    for pid in asleep.stdout.split():
        with suppress(OSError):  # that of another test, which has ended by now
            places.append(os.readlink(f"/proc/{int(pid)}/cwd"))
    assert str(lost.top) not in places
    lost.run("recover", "--resume", code=2)


def test_a_recovery_that_failed_is_tried_again_where_it_failed(bare) -> None:
    count = '{check: {asset: base, sql: "select count(*) from t", expect: {min: 1}}, after: [well]}'
    text = PLAN.replace("after: [app]}", f"after: [app], on_failure: undo}}\n    all: {count}", 1)
    lay_out(bare, text, TRIED)
    said = bare.run("recover", "--yes", "--to", bare.top / "new", code=10).stderr
    assert "--resume tries again what failed" in said
    assert acts(bare) == ["start", "ask", "stop"]
    said = bare.run("recover", "--yes", "--to", bare.top / "new", code=9).stderr
    assert "again with --resume" in said
    (bare.top / "go").touch()
    found = bare.json("recover", "--resume")
    assert found["ending"] == "done"
    assert acts(bare) == ["start", "ask", "stop", "start", "ask"]
    steps = {s["step"]: s["attempts"] for s in found["steps"]}
    assert (steps["fence"], steps["base"], steps["app"], steps["all"]) == (1, 1, 2, 1)
    said = bare.run("recover", "--resume", code=2).stderr
    assert f"(run {found['run']}) cannot go on: it has ended" in said


def test_what_somebody_put_where_a_restore_failed_is_set_aside_when_it_is_resumed(bare) -> None:
    """But not what the same run restored before it tried again: the disk would fill."""
    lay_out(bare, PLAN.replace("{restore: tree,", "{restore: tree, retries: 1,"), SLOW)
    (bare.top / "go").touch()
    (bare.top / "live/tree/big").write_bytes(os.urandom(200_000))
    bare.run("backup", "tree")
    packs = sorted((bare.top / "local/packs").glob("*/*"), key=lambda p: p.stat().st_mtime_ns)
    whole = packs[-1].read_bytes()
    packs[-1].chmod(0o600)
    packs[-1].write_bytes(whole[:100_000] + b"damage" + whole[100_006:])
    new = bare.top / "new"
    bare.run("recover", "--yes", "--mode", "planned", "--from", "local", "--to", new, code=10)
    assert not list(new.glob("tree.before-*"))
    lose(new / "tree")
    (new / "tree").mkdir()
    (new / "tree/by-hand").write_text("hours of work\n")
    packs[-1].write_bytes(whole)
    said = bare.run("recover", "--resume").stderr
    (aside,) = new.glob("tree.before-*")
    assert f"is now {aside}" in " ".join(said.split())
    assert (aside / "by-hand").read_text() == "hours of work\n"
    assert (new / "tree/a.txt").read_text() == "alpha\n"


def test_an_asset_never_takes_the_place_of_one_that_the_same_recovery_put_back(bare) -> None:
    """Where parameters hide from the plan that it is one place."""
    lay_out(bare, PLAN, SLOW)
    change(bare, "{restore: base,", '{restore: base, to: "new/${one}", retries: 1,')
    change(bare, "{restore: tree, after: [fence]", '{restore: tree, to: "new/${t}", after: [base]')
    change(bare, "recovery:", "recovery:\n  parameters: {one: db, t: db}")
    said = bare.run("recover", "--yes", "--mode", "planned", code=9).stderr
    assert f"base and tree would both be put at {bare.top}/new/db" in said
    assert not (bare.top / "new").exists()


TRIED = """\
#!/bin/sh
echo "$1" >> acts
test "$1" != ask || test -e go && echo up
"""


BOTH_WAYS = f"""\
{PLAN.partition("recovery:")[0]}\
recovery:
  defaults: {{timeout: 1m}}
  steps:
    fence: {{run: [./act, fence], undo: [./act, unfence]}}
    base: {{restore: base, after: [fence]}}
    tree: {{restore: tree, after: [fence]}}
    app: {{run: [./act, app], undo: [./act, unapp], after: [base, tree]}}
    away: {{run: [./act, away], undo: [./act, unaway], after: [app], when: [failover]}}
    agree: {{approval: oncall, after: [app], when: [failback]}}
    home: {{run: [./act, home], undo: [./act, unhome], after: [agree], when: [failback]}}
    well: {{check: {{command: [./well]}}, after: [away, home], on_failure: undo}}
checks:
  - {{asset: tree, compare: manifest}}
drills:
  back: {{from: offsite, steps: failback, undo: true}}
evidence: {{key: "file:keys/evidence.key"}}
"""
ACT = """\
#!/bin/sh
echo "$1" >> ${DRCTL_DRILL:-.}/acts
test "$1" != unapp || test -e go || test -n "$DRCTL_DRILL" || sleep 600
"""


def acts(site) -> list[str]:
    return (site.top / "acts").read_text().split()


def test_what_failed_is_undone_in_reverse_whatever_is_killed_and_the_way_back_is_drilled(
    bare, stop_at_end
) -> None:
    lay_out(bare, BOTH_WAYS)
    program(bare.top / "act", ACT)
    program(bare.top / "well", "#!/bin/sh\nexit 1\n")
    running = bare.start("recover", "--yes", "--to", bare.top / "there")
    stop_at_end.append(running)
    wait_for(bare, "app", "undoing")
    wait_until_it_wrote(bare.top / "acts", "unapp")
    running.send_signal(signal.SIGKILL)
    running.wait()
    (bare.top / "go").touch()
    found = bare.json("recover", "--resume", code=10)
    assert found["ending"] == "failed"
    done = ["fence", "app", "away"]
    assert acts(bare) == [*done, "unaway", "unapp", "unapp", "unfence"]
    status = {s["step"]: s["status"] for s in found["steps"]}
    assert {status[name] for name in done} == {"undone"}
    assert status["well"] == "failed"

    program(bare.top / "well", '#!/bin/sh\ntest -s "$DRCTL_AT_TREE/a.txt"\n')
    drilled = bare.json("drill", "back")
    assert drilled["mode"] == "failback"
    assert set(drilled["left_out"]) == {"away", "agree"}
    assert list(drilled["undone"]) == ["home", "app", "fence"]
    assert set(drilled["undone"].values()) == {""}

    running = bare.start("recover", "--yes", "--mode", "failback", "--to", bare.top / "back")
    stop_at_end.append(running)
    deadline = time.monotonic() + 60
    while acts(bare)[7:] != ["fence", "app"]:  # until then the newest run is the one before
        assert time.monotonic() < deadline
        time.sleep(0.1)
    wait_for(bare, "agree", "running")
    bare.run("recover", "--approve", "agree", "--by", "Ada")
    assert running.wait(60) == 0
    assert acts(bare)[7:] == ["fence", "app", "home"]
    assert (bare.top / "back/tree/a.txt").read_text() == "alpha\n"
