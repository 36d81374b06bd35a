"""btrfs, a real one on a loop device where we are root; where we are not, the refusal."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from btrfs_volumes import IS_ROOT, call, mounted
from small_plan import HEAD

from drctl.engines.child import find_program

PLAN = (
    HEAD
    + """\
  data:
    btrfs: {{path: {path}{more}}}
    schedule: hourly
"""
)


def fill(data: Path) -> None:
    (data / "sub").mkdir()
    for i in range(50):
        (data / f"sub/{i}").write_text(f"file {i}\n")
    (data / "large").write_bytes(os.urandom(3 << 20))


def leftovers(data: Path) -> list[str]:
    return [name for name in os.listdir(data) if name.startswith(".drctl")]


def ready(bare: Any, data: Path, more: str = "") -> None:
    bare.plan(PLAN.format(path=data, more=more))
    bare.run("init")


def refused(bare: Any) -> str:
    """What a user who is not root is told."""
    if not IS_ROOT:
        return str(bare.run("backup", code=4).stderr)
    script = str(Path(__file__).parent / "as_user.py")
    for path in [bare.top, *bare.top.rglob("*")]:
        os.chown(path, 65534, 65534)
    words = [sys.executable, script, "65534", "drctl", "--plan", str(bare.top / "plan.yaml")]
    done = subprocess.run([*words, "backup"], env=bare.environment(), cwd=bare.top,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 4, done.stderr
    return done.stderr


def test_who_is_not_root_is_refused_in_words(bare, tmp_path, monkeypatch) -> None:
    for above in (tmp_path, *tmp_path.parents):
        if IS_ROOT and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o111)
    (tmp_path / "data").mkdir()
    ready(bare, tmp_path / "data")
    assert "only root may take and remove btrfs snapshots" in refused(bare)
    assert bare.snapshots() == [] if not IS_ROOT else True


def test_what_is_no_subvolume_is_refused_in_words(bare, tmp_path) -> None:
    (tmp_path / "plain").mkdir()
    ready(bare, tmp_path / "plain")
    told = bare.run("backup", code=4).stderr
    assert "btrfs" in told
    assert "Not a Btrfs filesystem" in told or "Not a subvolume" in told or not IS_ROOT
    assert leftovers(tmp_path / "plain") == []
    assert bare.snapshots() == []


def on_loop() -> Any:
    """The device is made where we may; elsewhere the same promise is the refusal, proven above."""
    return mounted() if IS_ROOT else contextlib.nullcontext(None)


def test_a_subvolume_comes_back_and_its_snapshot_is_gone(bare, differences) -> None:
    with on_loop() as data:
        if data is None:
            return
        fill(data)
        ready(bare, data)
        time.sleep(2.1)  # what has just changed is read twice
        before = data.stat()
        first = bare.json("backup")["snapshots"][0]
        assert first["status"] == "complete"
        assert leftovers(data) == []
        assert (data.stat().st_ino, data.stat().st_mode) == (before.st_ino, before.st_mode)
        second = bare.json("backup")["snapshots"][0]
        assert second["unchanged"] >= 51
        assert second["read_bytes"] == 0
        bare.run("restore", first["id"][:8], "--to", bare.top / "back")
        # Its top got a name and lost it again; the snapshot knows the time from before.
        os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert differences(data, bare.top / "back") == ""
        bare.run("restore", "data", "--path", str(data / "sub/7"), "--to", bare.top / "one")
        assert (bare.top / "one/sub/7").read_text() == "file 7\n"


def test_what_is_written_while_it_is_read_is_not_in_it(bare) -> None:
    """Two files that an application changes together, first one and then the other, many times."""
    with on_loop() as data:
        if data is None:
            return
        fill(data)
        (data / "z").write_text("0")
        ready(bare, data)
        ended = threading.Event()

        def write() -> None:
            n = 0
            while not ended.is_set():
                n += 1
                for name in ("a", "z"):
                    (data / f"{name}.new").write_text(str(n))
                    (data / f"{name}.new").rename(data / name)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            made = bare.json("backup")["snapshots"][0]
        finally:
            ended.set()
            writer.join()
        assert made["status"] == "complete"
        bare.run("restore", "data", "--to", bare.top / "back")
        found = [int((bare.top / "back" / name).read_text()) for name in ("a", "z")]
        assert found[0] - found[1] in {0, 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_snapshot_that_a_killed_run_left_is_removed_by_the_next(bare, how) -> None:
    with on_loop() as data:
        if data is None:
            return
        fill(data)
        (data / "more").write_bytes(os.urandom(40 << 20))
        ready(bare, data)
        plan = PLAN.format(path=data, more="")
        bare.plan(f"{plan}    throttle: {{read: 10MiB/s}}\n")  # it is not over at once
        running = bare.start("backup")
        while not leftovers(data):
            assert running.poll() is None, running.communicate()
            time.sleep(0.002)
        running.send_signal(how)
        running.communicate()
        assert len(leftovers(data)) == (1 if how == signal.SIGKILL else 0)
        bare.plan(plan)
        bare.run("backup")
        assert leftovers(data) == []
        assert len(bare.snapshots()) == 1


def test_a_subvolume_below_is_told_and_never_silently_missing(bare) -> None:
    with on_loop() as data:
        if data is None:
            return
        fill(data)
        btrfs = find_program("btrfs")
        assert btrfs
        call(btrfs, "subvolume", "create", data / "nested")
        (data / "nested/file").write_text("not in the snapshot")
        # Another plan's backup is under way: what drctl itself has there is nobody's data.
        call(btrfs, "subvolume", "snapshot", "-r", data, data / ".drctl-snapshot-other-0123abcd")
        ready(bare, data)
        told = bare.json("backup", code=11)["snapshots"][0]["entry_problems"]
        assert [problem["path"] for problem in told] == ["nested"]
        assert "is no part of its snapshot" in told[0]["what"]
        bare.plan(PLAN.format(path=data, more=", exclude: [/nested/]"))
        assert bare.json("backup")["snapshots"][0]["status"] == "complete"
