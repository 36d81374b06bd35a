"""File systems of the tests' own, on loop devices: only where we are root."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from drctl.engines.child import find_program

IS_ROOT = os.geteuid() == 0


def call(*words: str | Path) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def mounted() -> Iterator[Path]:
    """A file system of its own in a file, with a subvolume `data`."""
    btrfs, make = find_program("btrfs"), find_program("mkfs.btrfs")
    assert btrfs, "btrfs is missing: run scripts/test"
    assert make
    with tempfile.TemporaryDirectory(prefix="drctl-test-btrfs-") as folder:
        top = Path(folder)
        image, at = top / "image", top / "at"
        with image.open("wb") as file:
            file.truncate(140 << 20)
        call(make, "-q", image)
        at.mkdir()
        call("mount", "-o", "loop", image, at)
        try:
            call(btrfs, "subvolume", "create", at / "data")
            yield at / "data"
        finally:
            call("umount", at)
