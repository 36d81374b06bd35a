"""Nothing is too deep, or too well guarded, to be taken away; what withstands is told."""

import os
from pathlib import Path

from drctl.removing import remove_all

_MOST_DEEP = 1100  # more than a program may hold directories open, or call itself
_NAME = "d" * 10


def make_deep(top: Path, name: str, depth: int) -> None:
    """A path longer than the kernel takes, a file in each of its directories, and a way back."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.symlink(top, "back", dir_fd=here)
    os.fchmod(here, 0o500)
    os.close(here)


def test_a_tree_deeper_than_any_path_goes_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("kept")
    top = tmp_path / "top"
    top.mkdir()
    make_deep(top, _NAME, _MOST_DEEP)
    (top / "out").symlink_to(other)
    (top / "removed-1").write_text("a name of its own")
    (top / "shut" / "inner").mkdir(parents=True)
    (top / "shut" / "inner" / "file").write_text("read")
    (top / "shut" / "inner").chmod(0o500)
    (top / "shut").chmod(0)
    top.chmod(0o500)
    assert remove_all(str(top)) == ""
    assert [p.name for p in tmp_path.iterdir()] == ["other"]
    assert (other / "kept").read_text() == "kept"


def test_what_withstands_is_told_with_its_reason() -> None:
    path = f"/proc/{os.getpid()}/ns"  # nobody removes anything there
    told = remove_all(path)
    assert told.startswith(f"{path} could not be removed: ")
    denied = "Operation not permitted" if os.geteuid() == 0 else "Permission denied"
    assert denied in told
    assert "more" in told


def test_what_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    assert remove_all(str(tmp_path / "nothing")) == ""
