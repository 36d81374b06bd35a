"""Directories that go when whoever made them has gone, however that ended."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drctl.private import passing_directory, sweep_passing

KILLED = """
import os, signal
from drctl.private import passing_directory
with passing_directory() as path:
    os.mkdir(path + "/below")
    print(path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
    yield tmp_path
    tempfile.tempdir = before


def test_what_is_in_use_stays_and_what_a_killed_process_left_goes(top) -> None:
    (top / "drctl-run-file").touch()
    (top / "else").mkdir()
    (top / "drctl-run-link").symlink_to(top / "else")
    (top / "drctl-run-my_notes").mkdir()
    (top / "drctl-run-my_notes/text").touch()
    with passing_directory() as path:
        argv = [sys.executable, "-c", KILLED]
        done = subprocess.run(argv, capture_output=True, env={"TMPDIR": str(top)}, check=False)
        left = done.stdout.decode().strip()
        assert os.path.isdir(left + "/below"), done.stderr
        sweep_passing()
        assert not os.path.exists(left)
        assert os.path.isdir(path)
        assert (top / "drctl-run-my_notes/text").exists(), "it is somebody else's"
    shutil.rmtree(top / "drctl-run-my_notes")
    assert sorted(p.name for p in top.iterdir()) == ["drctl-run-file", "drctl-run-link", "else"]
