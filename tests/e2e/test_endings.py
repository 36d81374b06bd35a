"""How commands end: the exit codes, and what is left behind when a run is cut short."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from drctl.errors import ExitCode
from drctl.started import born

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
SLOW = "command: {run: [sh, -c, 'echo $$ > PIDFILE; cat live/tree/sub/deeper/c.bin; sleep 60']}"


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.02)


def with_asset(site, asset: str) -> None:
    """The plan with one more asset, which is called `slow`."""
    text = (site.top / "plan.yaml").read_text()
    site.plan(f"{text}  slow:\n    {asset}\n    schedule: hourly\n")


def start_slow(site, stop_at_end) -> tuple["subprocess.Popen[str]", Path]:
    """A backup that is in the middle of its source, and the file that holds the source's pid."""
    pid_file = site.top / "pid"
    with_asset(site, SLOW.replace("PIDFILE", str(pid_file)))
    process = site.start("backup", "slow")
    stop_at_end.append(process)
    wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    return process, pid_file


def test_the_table_of_exit_codes_in_the_docs_is_the_real_one() -> None:
    rows = re.findall(r"^\| (\d+) \| ([a-z ]+) \|", DOCS.read_text(), re.MULTILINE)
    told = {name.strip().upper().replace(" ", "_"): int(code) for code, name in rows}
    assert told == {code.name: int(code) for code in ExitCode}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_backup_ends_clean_and_takes_its_source_along(
    site, stop_at_end, number
) -> None:
    process, pid_file = start_slow(site, stop_at_end)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, told
    assert "nothing was lost" in told
    assert "Traceback" not in told
    wait_until(lambda: not born(int(pid_file.read_text())))
    assert site.snapshots() == []
    site.run("verify", "--read-data", "100")


def test_the_next_run_takes_over_what_an_interrupted_one_stored(site, stop_at_end) -> None:
    for i in range(200):
        (site.top / f"live/tree/file-{i:03}").write_bytes(os.urandom(600_000))
    text, read = (site.top / "plan.yaml").read_text(), "files: {paths: [live/tree]}\n"
    site.plan(text.replace(read, f"{read}    throttle: {{read: 20MiB/s}}\n"))  # it takes a while
    process = site.start("backup", "tree", "--json")
    stop_at_end.append(process)
    packs = site.top / "local" / "packs"
    wait_until(lambda: process.poll() is not None or any(packs.rglob("*/*")))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    site.plan(text)
    again = site.json("backup", "tree")["snapshots"][0]
    assert again["added_bytes"] < 0.95 * again["size_bytes"]
    held = sum(p.stat().st_size for p in packs.rglob("*") if p.is_file())
    assert held < 1.02 * again["size_bytes"]
    assert site.json("verify", "--read-data", "100")["wrong"] == []


def test_two_backups_of_one_asset_do_not_run_at_once(site, stop_at_end) -> None:
    process, _ = start_slow(site, stop_at_end)
    told = site.run("backup", "slow", code=ExitCode.BUSY).stderr
    assert "a backup of slow is already running here" in told
    site.run("backup", "base")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_two_inits_at_once_move_no_key_away(bare, stop_at_end) -> None:
    runs = [bare.start("init") for _ in range(3)]
    stop_at_end += runs
    ended = [(run.communicate(timeout=100)[1], run.returncode) for run in runs]
    assert {code for _, code in ended} <= {0, 8}, ended
    assert not [said for said, _ in ended if "mv " in said]
    bare.run("init")
    bare.run("backup", "tree")
    bare.run("restore", "tree", "--to", bare.top / "back")


def test_a_killed_run_leaves_no_lock(site, stop_at_end) -> None:
    process, pid_file = start_slow(site, stop_at_end)
    process.kill()
    process.communicate(timeout=60)
    site.plan((site.top / "plan.yaml").read_text().replace("sleep 60", "true"))
    site.run("backup", "slow")
    assert len(site.snapshots()) == 1
    assert pid_file.exists()


def test_a_wrong_passphrase_is_a_matter_of_keys(site) -> None:
    site.run("backup", "base")
    site.variables["DRCTL_PASSPHRASE"] = "wrong horse"
    told = site.run("restore", "base", "--to", "x.db", code=ExitCode.KEY).stderr
    assert "passphrase" in told
    assert "wrong horse" not in told
    site.variables["DRCTL_PASSPHRASE"] = ""
    told = site.run("restore", "base", "--to", "x.db", code=ExitCode.KEY).stderr
    assert "set DRCTL_PASSPHRASE" in told


def test_a_lost_credential_is_a_matter_of_keys(site) -> None:
    (site.top / "keys/writer.key").unlink()
    told = site.run("backup", code=ExitCode.KEY).stderr
    assert "keys/writer.key" in told


@pytest.mark.parametrize("asset", ["tree", "base", "dump"])
def test_restoring_never_overwrites(site, asset) -> None:
    site.run("backup", asset)
    target = site.top / "target"
    target.mkdir()
    for name in ("mine", "base.db", "dump.txt"):
        (target / name).write_text("mine")
    told = site.run("restore", asset, "--to", target, code=ExitCode.TARGET_REFUSED).stderr
    assert str(target) in told
    assert all(path.read_text() == "mine" for path in target.iterdir())
    assert len(list(target.iterdir())) == 3
    inside = site.run("restore", asset, "--to", "local/x", code=ExitCode.TARGET_REFUSED).stderr
    assert "local/x lies in the repository local" in inside
    assert not (site.top / "local/x").exists()


def test_a_dead_copy_makes_a_backup_partial_and_is_caught_up_later(site) -> None:
    site.run("backup", "base")
    away = site.top / "away"
    (site.top / "offsite").rename(away)
    done = site.json("backup", "base", code=ExitCode.PARTIAL)
    assert list(done["copies_behind"]) == ["offsite"]
    assert len(done["snapshots"]) == 1
    away.rename(site.top / "offsite")
    site.run("replicate")
    assert len(site.snapshots("--from", "offsite")) == 2


def test_a_copy_that_is_away_keeps_no_other_from_being_replicated_and_pruned(site) -> None:
    rule = "keep: {last: 1, grace: 1h}"
    plan = (site.top / "plan.yaml").read_text().replace("path: local", f"{rule}, path: local")
    more = f"copy_of: local, {rule}}}\n  third: {{site: there, path: third, copy_of: local}}"
    site.plan(plan.replace("copy_of: local}", more))
    site.run("init")
    site.run("backup", "tree")
    (site.top / "offsite").rename(site.top / "away")
    site.run("backup", "tree", code=11)
    done = site.json("replicate", code=5)
    assert done["third"]["present"] > 0
    assert list(done["offsite"]) == ["failed"]
    assert "third: copied" in site.run("replicate", code=5).stdout
    pruned = site.json("prune", code=5)
    assert len(pruned["local"]["removed"]) == 1
    assert list(pruned["offsite"]) == ["failed"]
    (site.top / "away").rename(site.top / "offsite")
    site.run("replicate")
    site.run("prune")


def test_a_dead_repository_is_a_matter_of_storage(site) -> None:
    shutil.rmtree(site.top / "local")
    told = site.run("backup", code=ExitCode.STORAGE).stderr
    assert "is its disk mounted?" in told
    assert not (site.top / "local").exists()


def test_one_failing_asset_does_not_keep_the_others_from_being_saved(site) -> None:
    (site.top / "live/base.db").write_text("this is no database at all, though it is long enough")
    done = site.json("backup", code=ExitCode.SOURCE)
    assert [s["asset"] for s in done["snapshots"]] == ["tree", "dump"]
    assert list(done["failed"]) == ["base"]
    assert [s["asset"] for s in site.snapshots("--from", "offsite")] == ["tree", "dump"]


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "nothing", "--to", "x"),
        ("restore", "tree"),
        ("backup", "nothing"),
        ("bakup",),
        ("snapshots", "--from", "nowhere"),
        ("restore", "tree", "--to", "x", "--at", "sometime"),
        ("verify", "--read-data", "200"),
    ],
)
def test_what_makes_no_sense_is_a_matter_of_usage(site, words) -> None:
    site.run("backup", "tree")
    told = site.run(*words, code=ExitCode.USAGE).stderr
    assert told.startswith("drctl: ") or "\ndrctl: " in told


def test_damage_is_told_and_the_rest_comes_back(site) -> None:
    """Of two assets one pack each: the damaged one fails, by name, the other restores."""
    site.run("backup", "tree")
    site.run("backup", "base")
    packs = sorted((site.top / "local/packs").rglob("*/*"), key=lambda p: p.stat().st_mtime_ns)
    data = bytearray(packs[0].read_bytes())
    data[len(data) // 3] ^= 1
    packs[0].write_bytes(data)
    told = site.run("verify", "--read-data", "100", code=ExitCode.INTEGRITY).stderr
    assert packs[0].name in told
    site.run("restore", "base", "--to", site.top / "back.db")
    with closing(sqlite3.connect(site.top / "back.db")) as database:
        assert database.execute("select count(*) from t").fetchone() == (1000,)
    back = site.top / "back"
    failed = site.run("restore", "tree", "--to", back, code=ExitCode.INTEGRITY)
    assert packs[0].name[:16] in failed.stderr
    told = re.search(r"restored (\d+) entr", failed.stdout)
    assert told
    assert int(told[1]) == len(list(back.rglob("*"))) + 1  # and the directory itself
    site.run("restore", "tree", "--from", "offsite", "--to", site.top / "whole")
    done = site.json("verify", "--read-data", "100", "--repair")
    assert list(done["repaired"]["fetched"]) == [f"packs/{packs[0].name[:2]}/{packs[0].name}"]
    assert (done["wrong"], done["repaired"]["left"]) == ([], {})
    copy = next((site.top / "offsite/packs").rglob(f"*/{packs[0].name}"))
    copy.write_bytes(data)
    assert site.json("replicate")["offsite"]["mended"] == 0
    assert site.json("replicate", "--verify")["offsite"]["mended"] == 1
    assert copy.read_bytes() == packs[0].read_bytes()


def test_of_a_pack_that_no_copy_has_the_sound_part_is_saved_and_the_rest_stored_anew(site) -> None:
    (site.top / "live/tree/large").write_bytes(os.urandom(6_000_000))
    site.run("backup", "tree")
    shutil.rmtree(site.top / "offsite")
    (pack,) = (site.top / "local/packs").rglob("*/*")
    data = bytearray(pack.read_bytes())
    data[len(data) // 3] ^= 1
    pack.write_bytes(data)
    words = ("verify", "--read-data", "100", "--repair")
    told = site.run(*words, code=ExitCode.INTEGRITY)
    assert f"saved: packs/{pack.name[:2]}/{pack.name}: " in told.stdout
    assert "offsite" in told.stderr  # nothing could be taken from there
    assert not pack.exists()
    shutil.rmtree(site.top / "state")
    site.run("backup", "tree", code=ExitCode.PARTIAL)
    for snapshot in site.snapshots("tree"):
        site.run("restore", snapshot["id"], "--to", site.top / snapshot["id"])
        restored = site.top / snapshot["id"] / "large"
        assert restored.read_bytes() == (site.top / "live/tree/large").read_bytes()
    (aside,) = (site.top / "local/trash/damaged").iterdir()
    site.run("prune", "--from", "local", "--grace", "0s", "--patience", "0s")
    assert not aside.exists()


def test_a_name_that_nobody_knows_is_no_empty_list(site) -> None:
    site.run("backup", "tree")
    told = site.run("snapshots", "treee", code=ExitCode.USAGE).stderr
    assert "neither the plan nor the repository has 'treee'" in told
    assert site.run("snapshots", "base").stdout == "no snapshots\n"
    assert site.run("snapshots", "tree", "--deleted").stdout == "no snapshots\n"


def test_what_is_shown_escaped_can_be_asked_for_so(site) -> None:
    odd = [b"new\nline", b"no-utf\xff8", "right\u202eleft".encode(), b"back\\x41slash"]
    for name in odd:
        (site.top / "live/tree" / os.fsdecode(name)).write_bytes(name)
    site.run("backup", "tree")
    shown = [e["path"] for e in site.json("ls", "tree")["entries"]]
    for number, name in enumerate(odd):
        (path,) = (p for p in shown if p.startswith(name[:3].decode()))
        assert site.json("ls", "tree", path)["entries"][0]["path"] == path
        back = site.top / f"back-{number}"
        site.run("restore", "tree", "--path", path, "--to", back)
        assert (back / os.fsdecode(name)).read_bytes() == name


def test_secrets_never_reach_the_children_nor_the_output(site) -> None:
    with_asset(site, "command: {run: [sh, -c, 'env; cat /proc/$PPID/cmdline; echo'], name: env}")
    site.variables["DRCTL_PASSPHRASE"] = "correct horse"
    site.run("backup", "slow")
    site.run("restore", "slow", "--to", site.top / "env")
    held = (site.top / "env").read_text()
    assert "PATH=" in held
    assert "correct horse" not in held


def heard_by(site, argv: list[str], out: str, err: str) -> int:
    """How a command ends whose streams a shell has set."""
    line = f'exec "$@" {out} {err}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *argv], env=site.environment(), cwd=site.top, check=False
    )
    return done.returncode


@pytest.mark.parametrize("err", ["2>/dev/full", "2>&-", "2>/dev/null"])
def test_a_backup_that_nobody_can_hear_is_made_all_the_same(site, err) -> None:
    assert heard_by(site, site.argv("backup"), "", err) == 0
    assert len(site.json("snapshots")) == 3


def test_a_result_that_cannot_be_written_is_told_without_a_traceback(site, tmp_path) -> None:
    said = tmp_path / "said"
    assert heard_by(site, site.argv("backup"), ">/dev/full", f"2>{said}") == 5
    assert "cannot be written" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert len(site.json("snapshots")) == 3
    for words in (("snapshots",), ("ls", "tree")):
        assert heard_by(site, site.argv(*words), ">&-", f"2>{said}") == 5
        assert "it is closed" in said.read_text()
    assert heard_by(site, site.argv("ls", "tree"), ">/dev/full", f"2>{said}") == 5
    assert "cannot be written" in said.read_text()
    assert (
        heard_by(site, site.argv("backup"), ">&-", "2>&-") == 0
    )  # cron's work is done all the same


def test_a_reader_who_had_enough_ends_nothing(site) -> None:
    line = '"$@" 2>&1 | true; "$@" 2>&1 | head -n 1'
    argv = ["sh", "-c", line, "sh", *site.argv("backup")]
    subprocess.run(argv, env=site.environment(), cwd=site.top, check=True, capture_output=True)
    assert len(site.json("snapshots")) == 6
    site.json("verify", "--read-data", "100")
    listing = ["bash", "-c", 'set -o pipefail; "$@" | true', "bash", *site.argv("ls", "tree")]
    subprocess.run(listing, env=site.environment(), cwd=site.top, check=True)


BROKEN = """
import drctl.cli.status
def broken(*_):
    raise BrokenPipeError(32, "Broken pipe")
drctl.cli.status._look = broken
from drctl.cli.main import main
main()
"""


def test_a_connection_that_breaks_under_a_run_is_not_taken_for_a_reader_who_had_enough(
    site,
) -> None:
    """A bug: whoever speaks to somebody says what went wrong. But never as done."""
    argv = [sys.executable, "-c", BROKEN, *site.argv("status")[3:]]
    done = subprocess.run(argv, env=site.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.BUG
    assert "Broken pipe" in done.stderr


def test_where_every_disk_for_passing_things_is_full_the_rest_is_done_all_the_same(site) -> None:
    """As where no more can be written to any file: what is kept elsewhere can still be had."""
    site.run("backup", "tree")
    for words in (("snapshots",), ("status",), ("verify",)):
        site.run(*words, through=("prlimit", "--fsize=0"), code=10 if words == ("status",) else 0)


def test_no_program_of_a_plan_gets_the_passphrase(bare) -> None:
    command = f"command:sh -c 'env > {bare.top}/seen; cat keys/writer.key'"
    bare.run("init")
    plan = (bare.top / "plan.yaml").read_text()
    bare.plan(plan.replace("file:keys/writer.key", f'"{command}"'))
    bare.run("snapshots")
    assert "PASSPHRASE" not in (bare.top / "seen").read_text()
    bare.plan(plan.replace("name: dump.txt", "name: dump.txt, env: [DRCTL_PASSPHRASE]"))
    assert "for drctl alone" in bare.run("validate", code=3).stderr
