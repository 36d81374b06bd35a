"""A source that fails in any way leaves no snapshot, says why, and harms no earlier snapshot."""

import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from drctl.errors import ExitCode
from drctl.started import born

COMMANDS = {
    "exits with a status": (
        "[sh, -c, 'echo half; echo the ledger is locked >&2; exit 3']",
        ["exit status 3", "the ledger is locked", "run it by hand"],
    ),
    "exits at once": ("[sh, -c, 'exit 1']", ["exit status 1", "it said nothing"]),
    "is killed": ("[sh, -c, 'echo half; kill -9 $$']", ["killed by SIGKILL"]),
    "takes too long": ("[sh, -c, 'echo half; sleep 100'], timeout: 1s", ["within 1s"]),
    "leaves the pipe to a child": (
        "[sh, -c, 'sleep 100 & echo half'], timeout: 1s",
        ["ended, but 1s after its start", "held open by sleep (process", "write elsewhere"],
    ),
    "closes its output and goes on": (
        "[sh, -c, 'echo half; exec >&-; sleep 100'], timeout: 1s",
        ["within 1s"],
    ),
    "is not there": ("[./no-such-program]", ["./no-such-program", "is the path right"]),
    "is not in PATH": ("[no-such-program-at-all]", ["no-such-program-at-all"]),
    "is not executable": ("[./plan.yaml]", ["./plan.yaml", "executable"]),
    "prints nothing": ("['true']", ["printed 0 bytes"]),
    "prints too little": (
        "[echo, little], min_size: 1k",
        ["printed 7 bytes, at least 1000", "min_size"],
    ),
}
SECRET = "hunter2-in-the-environment"


def with_asset(site, asset: str) -> None:
    text = (site.top / "plan.yaml").read_text()
    site.plan(f"{text}  wrong:\n    {asset}\n    schedule: hourly\n")


def fails(site, asset: str, words: list[str]) -> str:
    """The asset fails as a source does, names each of the words, and leaves what was there."""
    site.run("backup", "base", "tree")
    before = site.snapshots()
    with_asset(site, asset)
    site.variables["LEDGER_PASSWORD"] = SECRET
    told = site.run("backup", "wrong", code=ExitCode.SOURCE).stderr
    for word in ("wrong", *words):
        assert word in told, told
    assert SECRET not in told
    assert site.snapshots() == before
    assert site.json("verify", "--read-data", "100")["wrong"] == []
    site.run("restore", "tree", "--to", site.top / "still-there")
    return told


def children_of_this_test(site) -> list[str]:
    """Processes whose working directory is the site's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd") == str(site.top):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue  # it ended while we looked
    return found


@pytest.mark.parametrize("how", COMMANDS)
def test_a_command_that_fails_leaves_no_snapshot(site, how) -> None:
    run, words = COMMANDS[how]
    fails(site, f"command: {{run: {run}}}", words)
    assert children_of_this_test(site) == []


def test_a_child_with_a_session_of_its_own_keeps_no_backup_beyond_its_time(site) -> None:
    run = "echo half; setsid sleep 600 & echo $! > child; exec sleep 600"
    try:
        fails(site, f"command: {{run: [sh, -c, '{run}'], timeout: 1s}}", ["did not end within 1s"])
    finally:
        os.kill(int((site.top / "child").read_text()), signal.SIGKILL)


def test_what_a_command_left_behind_is_told_and_heard_out(site, stop_at_end) -> None:
    """A filter in the background may well print the end of the dump."""
    late = "while ! test -e go; do sleep 0.1; done; echo late"
    with_asset(site, f"command: {{run: [sh, -c, '({late}) & echo early']}}")
    running = site.start("backup", "wrong")
    stop_at_end.append(running)
    while "has ended, but its output is held open by " not in (line := running.stderr.readline()):
        assert line, "it ended without a word of that"
    assert "sh (process" in line
    (site.top / "go").touch()
    assert running.wait(60) == 0
    site.run("restore", "wrong", "--to", site.top / "back")
    assert (site.top / "back").read_text() == "early\nlate\n"


def test_the_last_words_of_a_command_are_shown_and_not_all_of_them(site) -> None:
    told = fails(
        site,
        "command: {run: [sh, -c, 'for i in $(seq 1000); do echo line $i >&2; done; exit 1']}",
        ["line 1000"],
    )
    assert "line 900\n" not in told


def make_database(path: Path, pages: int = 50) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table t (v text)")
        database.executemany("insert into t values (?)", [("x" * 3000,)] * pages)


def test_a_database_that_is_missing(site) -> None:
    fails(site, "sqlite: {path: live/none.db}", ["live/none.db"])
    assert not (site.top / "live/none.db").exists()


def test_a_database_that_is_none(site) -> None:
    (site.top / "live/text.db").write_text("this is no database\n" * 100)
    fails(site, "sqlite: {path: live/text.db}", ["live/text.db", "another kind of file"])


def test_a_database_that_is_empty_or_a_directory(site) -> None:
    (site.top / "live/folder.db").mkdir()
    fails(site, "sqlite: {path: live/folder.db}", ["live/folder.db"])


def test_a_database_with_a_damaged_page(site) -> None:
    path = site.top / "live/damaged.db"
    make_database(path)
    data = bytearray(path.read_bytes())
    data[20 * 4096 : 21 * 4096] = os.urandom(4096)
    path.write_bytes(data)
    fails(site, "sqlite: {path: live/damaged.db}", ["live/damaged.db"])


def test_a_database_that_was_cut_short(site) -> None:
    path = site.top / "live/short.db"
    make_database(path)
    os.truncate(path, path.stat().st_size // 2)
    fails(site, "sqlite: {path: live/short.db}", ["live/short.db"])


def test_a_database_that_stays_locked(site) -> None:
    path = site.top / "live/locked.db"
    make_database(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("begin exclusive")
        asset = "sqlite: {path: live/locked.db, timeout: 1s}"
        fails(site, asset, ["live/locked.db", "locked"])
        database.execute("rollback")
    site.run("backup", "wrong")


def test_a_tree_that_is_not_there(site) -> None:
    fails(site, "files: {paths: [live/tree, live/none]}", ["live/none", "is its disk mounted?"])


def test_scratch_files_do_not_stay(site) -> None:
    """A copy of a database that turned out damaged is not left on the disk."""
    test_a_database_with_a_damaged_page(site)
    left = (site.top / "state").glob("*/*.scratch/*")
    assert list(left) == []


def test_a_file_that_changes_while_it_is_read_is_told_and_the_rest_is_saved(site) -> None:
    """Partial, not failed: the snapshot says which file is not whole."""
    path = site.top / "live/tree/log"
    path.write_bytes(os.urandom(8 << 20))
    plan = (site.top / "plan.yaml").read_text()
    slowly = "files: {paths: [live/tree]}\n    throttle: {read: 4MiB/s}"
    site.plan(plan.replace("files: {paths: [live/tree]}", slowly))
    stop = threading.Event()

    def keep_writing() -> None:
        with path.open("r+b") as file:
            while not stop.is_set():
                file.seek(0)
                file.write(os.urandom(100))
                file.flush()
                time.sleep(0.001)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        done = site.json("backup", "tree", code=ExitCode.PARTIAL)
    finally:
        stop.set()
        writer.join()
    problems = done["snapshots"][0]["entry_problems"]
    assert problems == [{"path": "log", "what": "it was changed while it was read"}]
    assert site.snapshots()[0]["status"] == "partial"
    site.run("restore", "tree", "--path", "a.txt", "--to", site.top / "one")
    told = site.run("restore", "tree", "--to", site.top / "all", code=ExitCode.PARTIAL).stderr
    assert "log" in told
    shutil.rmtree(site.top / "all")
    again = site.json("backup", "tree")["snapshots"][0]
    assert again["status"] == "complete"


def test_one_failed_asset_is_one_document(site) -> None:
    with_asset(site, "files: {paths: [live/none]}")
    found = site.json("backup", "wrong", code=ExitCode.SOURCE)
    assert found["failed"]["wrong"]["exit_code"] == ExitCode.SOURCE
    assert found["snapshots"] == []


def test_the_command_of_a_killed_backup_is_ended_by_the_next_one(site, stop_at_end) -> None:
    said = "echo $$ > new; mv new pid; test -e go || sleep 600; echo it"
    with_asset(site, f"command: {{run: [sh, -c, '{said}']}}")
    running = site.start("backup", "wrong")
    stop_at_end.append(running)
    kept = site.top / "state"
    deadline = time.monotonic() + 60
    while not ((site.top / "pid").exists() and list(kept.glob("*/wrong.scratch/*.pid"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()
    pid = int((site.top / "pid").read_text())
    assert born(pid)
    (site.top / "go").touch()
    assert "the command that it ran is ended now" in site.run("backup", "wrong").stderr
    assert not born(pid)
    assert not list(kept.glob("*/wrong.scratch/*.pid"))
    assert "ended now" not in site.run("backup", "wrong").stderr


def test_what_failed_among_others_is_told_once(site) -> None:
    with_asset(site, "files: {paths: [live/none]}")
    told = site.run("backup", "wrong", "base", code=ExitCode.SOURCE).stderr
    assert told.count("live/none") == 1
    assert "wrong: wrong" not in told
    alone = site.run("backup", "wrong", code=ExitCode.SOURCE).stderr
    assert alone.count("live/none") == 1
