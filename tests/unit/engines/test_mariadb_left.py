"""What a restore to a time leaves out is told, or that nobody could see it."""

from pathlib import Path

import pytest

from drctl.engines.mariadb_binlog import MAGIC
from drctl.engines.mariadb_left import left_out
from drctl.errors import StorageError
from drctl.logpieces import LogFile, LogPiece


def test_a_binlog_that_cannot_be_fetched_is_not_taken_for_one_that_leaves_nothing_out(
    tmp_path: Path,
) -> None:
    stopped_in = tmp_path / "binlog.000001"
    stopped_in.write_bytes(MAGIC)
    piece = LogPiece("log/1", "binlog.000002", 0, 100, whole=True, stored_at_ns=0)
    later = LogFile("binlog.000002", (piece,), 100)

    def refuse(file: LogFile) -> str:
        raise StorageError(f"{file.file} is not to be had")

    with pytest.raises(StorageError, match=r"binlog\.000002 is not to be had"):
        left_out(str(stopped_in), 4, 2_000_000_000, {later.file: later}, refuse, lambda _: 0)
