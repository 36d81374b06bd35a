"""Whether a server runs in a directory."""

import os

import pytest

from drctl.engines.postgres_server import runs_at
from drctl.errors import TargetRefused


def test_whether_one_runs_is_known_or_the_directory_is_refused(tmp_path) -> None:
    assert runs_at(str(tmp_path)) == 0
    pid_file = tmp_path / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n")
    assert runs_at(str(tmp_path)) == os.getpid()
    pid_file.write_text("4194305\n")  # beyond every process
    assert runs_at(str(tmp_path)) == 0
    pid_file.chmod(0)
    me = os.geteuid()
    os.seteuid(me or 65534)
    try:
        with pytest.raises(TargetRefused, match="it is not known whether a server runs there"):
            runs_at(str(tmp_path))
    finally:
        os.seteuid(me)
