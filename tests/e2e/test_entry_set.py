"""Everything that a file system may hold comes back identical, for root and for a normal user."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NOBODY = 65534
PLAN = """\
version: 1
name: entries
sites: {a: {failure_domain: a}}
repositories: {r: {site: a, path: repository}}
keys: {credential: file:keys/writer.key}
assets: {set: {files: {paths: [set]}, schedule: daily}}
"""


class Desk:
    """A directory of one user, and what that user runs in it."""

    def __init__(self, top: Path, uid: int) -> None:
        self.top = top
        self.uid = uid

    def run(self, *words: str | Path, code: int = 0) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top),
            "LC_ALL": "C.UTF-8",
            "DRCTL_PLAN": str(self.top / "plan.yaml"),
            "DRCTL_PASSPHRASE": "correct horse",
            "DRCTL_STATE_DIR": str(self.top / "state"),
        }
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        done = subprocess.run(
            [sys.executable, str(HERE / "as_user.py"), str(self.uid), *map(str, words)],
            env=environment,
            cwd=self.top,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


def users() -> list[int]:
    """Root tries itself and a normal user; anybody else only itself."""
    return [0, NOBODY] if os.geteuid() == 0 else [os.geteuid()]


@pytest.fixture(params=users(), ids=lambda uid: "root" if uid == 0 else "a normal user")
def desk(request) -> Iterator[Desk]:
    top = Path(tempfile.mkdtemp(prefix="drctl-entry-set-"))
    (top / "plan.yaml").write_text(PLAN)
    if os.geteuid() == 0:
        os.chown(top, request.param, request.param)
    made = Desk(top, request.param)
    made.run(HERE / "entry_set.py", top / "set")
    made.run("drctl", "init")
    yield made
    subprocess.run(["chmod", "-R", "u+rwX", str(top)], check=False, capture_output=True)
    shutil.rmtree(top)


def rsync(before: Path, after: Path) -> str:
    """What an independent tool sees. It cannot name what lies beyond PATH_MAX; `seen` can."""
    words = [
        "--exclude=/ddd*",
        "-nacHAX",
        "--specials",
        "--devices",
        "--delete",
        "--itemize-changes",
    ]
    done = subprocess.run(
        ["rsync", *words, f"{before}/", f"{after}/"], capture_output=True, check=False
    )
    return (done.stdout + done.stderr).decode(errors="replace")


def digest(descriptor: int) -> str:
    with open(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seen(top: Path) -> dict[bytes, tuple[object, ...]]:
    """Every entry with what the system says of it, paths beyond PATH_MAX included."""
    found: dict[bytes, tuple[object, ...]] = {}
    names: dict[tuple[int, int], bytes] = {}

    def look(directory: int, prefix: bytes) -> None:
        for name in sorted(os.listdir(directory)):
            raw = os.fsencode(name)
            here = os.stat(name, dir_fd=directory, follow_symlinks=False)
            first = names.setdefault((here.st_dev, here.st_ino), prefix + raw)
            link = os.readlink(raw, dir_fd=directory) if (here.st_mode >> 12) == 0o12 else b""
            found[prefix + raw] = (here.st_mode, here.st_uid, here.st_gid, here.st_mtime_ns,
                                   here.st_rdev, here.st_nlink, first, link,
                                   here.st_size if (here.st_mode >> 12) != 4 else 0)  # fmt: skip
            if (here.st_mode >> 12) == 0o10 and here.st_size and here.st_mode & 0o400:
                found[prefix + raw] += (digest(os.open(name, os.O_RDONLY, dir_fd=directory)),)
            if (here.st_mode >> 12) == 4:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                inner = os.open(name, flags, dir_fd=directory)
                look(inner, prefix + raw + b"/")
                os.close(inner)

    start = os.open(top, os.O_RDONLY)
    look(start, b"")
    os.close(start)
    return found


def test_the_set_holds_what_it_promises(desk) -> None:
    found = seen(desk.top / "set")
    assert len(found) >= 90
    assert max(len(path) for path in found) > 5000
    assert any(b"\xff" in path for path in found)
    assert found[b"time-1901"][3] < 0
    assert found[b"time-2200"][3] > 137 * 31_556_952 * 10**9
    assert (desk.top / "set/sparse-all-hole").stat().st_blocks == 0
    if desk.uid == 0:
        assert {b"device-null", b"capable", b"closed/inside"} <= found.keys()


def test_everything_comes_back_identical(desk) -> None:
    desk.run("drctl", "backup")
    desk.run("drctl", "restore", "set", "--to", desk.top / "back")
    assert rsync(desk.top / "set", desk.top / "back") == ""
    assert seen(desk.top / "back") == seen(desk.top / "set")


def test_holes_come_back_as_holes(desk) -> None:
    desk.run("drctl", "backup")
    desk.run("drctl", "restore", "set", "--to", desk.top / "back")
    for path in sorted((desk.top / "set").glob("sparse-*")):
        before, after = path.stat(), (desk.top / "back" / path.name).stat()
        assert after.st_blocks <= before.st_blocks + 16, path


def test_a_second_snapshot_says_the_same(desk) -> None:
    """Taken over from what is remembered, or read anew: no difference shows."""
    desk.run("drctl", "backup")
    desk.run("drctl", "backup")
    assert desk.run("drctl", "diff", "set") == ""
    desk.run("drctl", "restore", "set", "--to", desk.top / "back")
    assert seen(desk.top / "back") == seen(desk.top / "set")


def test_odd_names_are_shown_without_moving_the_cursor(desk) -> None:
    desk.run("drctl", "backup")
    listed = desk.run("drctl", "ls", "set")
    assert "\x1b" not in listed
    assert "\a" not in listed
    assert "name new\\nline" in listed
