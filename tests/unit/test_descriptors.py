"""Few open files: more are taken where that is allowed, else fewer are opened."""

import errno
import subprocess
import sys

import pytest

from drctl.descriptors import hint

LOOK = """\
import os, resource
from drctl.descriptors import at_once, too_few, widen
widen()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(at_once(32))]
print(len(opened), "ulimit -n" in too_few())
"""


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ("20:20", ["20", "20", "4", "True"]),
        ("12:12", ["12", "12", "1", "True"]),
        ("20:100", ["100", "100", "32", "False"]),
        ("20:4096", ["256", "4096", "32", "False"]),
        ("1024:4096", ["1024", "4096", "32", "False"]),
    ],
)
def test_no_more_is_opened_than_may_be(limits, found) -> None:
    argv = ["prlimit", f"--nofile={limits}", sys.executable, "-c", LOOK]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.split() == found


def test_what_to_do_is_told_for_what_went_wrong() -> None:
    assert "ulimit -n" in hint(OSError(errno.EMFILE, "Too many open files"), "be root")
    assert hint(PermissionError(errno.EACCES, "Permission denied"), "be root") == "be root"
