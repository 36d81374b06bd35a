"""The private place of a drill, and who takes it for one."""

import os
import signal
import subprocess

from drctl.ops.recovery.box import Box, sweep


def made_of(names: int):
    return lambda size: bytes([names]) * size


def swept(home) -> list[str]:
    told: list[str] = []
    sweep(str(home), told.append)
    return told


def test_only_what_holds_a_drill_s_lock_is_taken_for_a_drill_s(tmp_path) -> None:
    theirs = ["drill-reports", "drill-photos/2025", "drill-0123456789ab", "drill-0123456789ab.old"]
    for name in theirs:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "audit.txt").write_text("kept")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "lock").write_text("")
    (tmp_path / "drill-0123456789ab/drill.lock").symlink_to(elsewhere / "lock")
    assert swept(tmp_path) == []
    assert [(tmp_path / name / "audit.txt").read_text() for name in theirs] == ["kept"] * 4


def test_what_a_drill_left_is_removed_also_where_its_removal_was_killed(tmp_path) -> None:
    alive = Box(str(tmp_path), made_of(1))
    dead = Box(str(tmp_path), made_of(2))
    inner = dead.at("target", "deep")
    os.mkdir(inner)
    os.close(dead._lock)
    runs = subprocess.Popen(["/bin/sleep", "600"], cwd=inner)
    for part in ("empty", "run"):  # as far as the removal came
        os.rmdir(dead.at(part))
    assert swept(tmp_path) == [f"{dead.path}: what a drill left there is removed"]
    assert runs.wait() == -signal.SIGTERM
    assert not os.path.exists(dead.path)
    assert os.path.isdir(alive.path)
    assert alive.remove() == ()
    assert os.listdir(tmp_path) == []
