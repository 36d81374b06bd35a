"""What is made above a place that is restored to, whichever asset is there first."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drctl.engines.base import Target
from drctl.engines.single import SingleTarget
from drctl.engines.tree_write import TreeTarget
from drctl.model import Entry, Kind


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("make", [SingleTarget, TreeTarget])
def test_others_may_pass_through_and_not_look_around(
    make: Callable[[str], Target], tmp_path: Path
) -> None:
    target = make(f"{tmp_path}/new/below/thing")
    target.prepare()
    target.put_small(Entry(b"name", int(Kind.FILE), 0o600, os.getuid(), os.getgid(), 0, 1), b"x")
    target.finish()
    made = [tmp_path / "new", tmp_path / "new/below"]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o711, 0o711]


def test_what_is_there_already_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o700)
    TreeTarget(f"{tmp_path}/own/below/thing").prepare()
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "own/below").stat().st_mode & 0o777 == 0o711
