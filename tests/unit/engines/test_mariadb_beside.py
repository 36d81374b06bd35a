"""The directory for binlogs beside a restored data directory."""

from pathlib import Path

import pytest

from drctl.engines.mariadb_beside import beside, clear
from drctl.errors import TargetRefused


def test_what_a_killed_restore_left_is_cleared_and_what_another_is_at_stays(
    tmp_path: Path,
) -> None:
    datadir, folder = str(tmp_path / "data"), tmp_path / "data.drctl-binlogs"
    folder.mkdir()
    (folder / "binlog.000001").write_bytes(b"left")
    clear(datadir)
    assert not folder.exists()
    with beside(datadir) as here:
        (folder / "binlog.000001").write_bytes(b"in use")
        clear(datadir)
        with pytest.raises(TargetRefused, match="File exists"), beside(datadir):
            pass
        assert list(Path(here).iterdir())
    assert not folder.exists()


def test_what_is_no_directory_of_ours_stays_and_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "data.drctl-binlogs"
    folder.write_text("somebody's")
    with pytest.raises(TargetRefused, match="File exists"), beside(str(tmp_path / "data")):
        pass
    assert folder.read_text() == "somebody's"
