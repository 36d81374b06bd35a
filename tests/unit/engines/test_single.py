"""A snapshot that is one file comes back under its name whole, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from drctl.engines.single import SingleTarget
from drctl.errors import Busy
from drctl.model import Entry, Kind

STRANGER = """
import sys
from drctl.engines.single import SingleTarget
from drctl.model import Entry
target = SingleTarget(sys.argv[1])
target.prepare()
assert target.put_small(Entry(b"name", 1, 0o640, 4242, 4242), b"whole") is None
print([problem.what for problem in target.finish()])
"""


def entry() -> Entry:
    return Entry(b"name", int(Kind.FILE), 0o600)


def test_two_restores_of_one_name_do_not_write_one_file(tmp_path: Path) -> None:
    to = str(tmp_path / "file")
    first = SingleTarget(to).open_large(entry())
    first.write(b"of the first")
    with pytest.raises(Busy, match="another drctl restores it right now"):
        SingleTarget(to).open_large(entry())
    assert first.close() is None
    assert (tmp_path / "file").read_bytes() == b"of the first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_restore_left_goes(tmp_path: Path) -> None:
    (tmp_path / "file.drctl-partial").write_bytes(b"half of something larger")
    target = SingleTarget(str(tmp_path / "file"))
    target.put_small(entry(), b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "\u00e9" * 127])
def test_the_longest_names_come_back_and_two_restores_of_one_do_not_meet(
    tmp_path: Path, name: str
) -> None:
    for last in ("a", "b"):
        path = tmp_path / (name[:-1] + last)
        first = SingleTarget(str(path)).open_large(entry())
        with pytest.raises(Busy):
            SingleTarget(str(path)).open_large(entry())
        first.write(last.encode())
        assert first.close() is None
        assert path.read_text() == last
    assert len(list(tmp_path.iterdir())) == 2


def test_an_owner_whom_nobody_knows_here_keeps_no_file_from_coming_back(tmp_path: Path) -> None:
    """As root of a namespace, in which most users do not exist."""
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", STRANGER]
    done = subprocess.run([*argv, tmp_path / "file"], capture_output=True, text=True, check=False)
    assert "its owner could not be set" in done.stdout, done.stderr
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
