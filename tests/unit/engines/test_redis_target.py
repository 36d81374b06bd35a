"""A Redis dump comes back also where its owner cannot be set."""

import os
import subprocess
import sys
from pathlib import Path

from drctl.engines.redis import ENGINE, Settings

STRANGER = """
import sys
from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.redis import ENGINE
from drctl.events import Silent
from drctl.model import Entry
to, dump = sys.argv[1], open(sys.argv[2], "rb").read()
around = Surroundings(SystemClock(), Silent(), "/", "/")
target = ENGINE.target(None, to, {"appendonly": "yes", "redis": "7.0.0"}, around)
target.prepare()
assert target.put_small(Entry(b"dump.rdb", 1, 0o600, size=len(dump)), dump) is None
print([problem.what for problem in target.finish()])
"""


def test_a_group_that_nobody_knows_here_keeps_no_server_from_its_data(tmp_path: Path) -> None:
    """As root of a namespace, as in a container: it may not give to the directory's own group."""
    ENGINE.hollow(Settings(), str(tmp_path / "saved"), None)
    back, told = tmp_path / "back", ""
    back.mkdir()
    if os.geteuid() == 0:  # others cannot make such a directory
        os.chown(back, -1, 4242)
        told = "its owner could not be set: Invalid argument (as of 2 more)"
    argv = ["unshare", "--user", "--map-root-user", sys.executable, "-c", STRANGER]
    argv += [str(back), str(tmp_path / "saved/dump.rdb")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == f"{[told] if told else []}\n", done.stderr
    kept = sorted(path.name for path in back.rglob("*") if path.is_file())
    assert kept == ["appendonly.aof.1.base.rdb", "appendonly.aof.manifest", "dump.rdb"]
