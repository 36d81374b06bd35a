"""What is written where a cluster is put back, and what of a snapshot is not."""

import json
import os

from drctl.clock import SystemClock
from drctl.engines.base import Goal, Surroundings
from drctl.engines.postgres_target import PostgresTarget
from drctl.events import Silent
from drctl.model import Entry, Kind

CLUSTER = {"timeline": 1, "segment_bytes": 1 << 20, "system_id": 7, "major": 15}
FACTS = {"cluster": json.dumps(CLUSTER), "wal_end": "0/3000028"}
SIGNALS = {b"standby.signal": b"", b"recovery.signal": b"of the source"}


def put_back(top, files: dict[bytes, bytes]) -> dict[str, bytes]:
    """Restore these into a directory, and give what is there."""
    around = Surroundings(SystemClock(), Silent(), str(top), str(top), goal=Goal("immediate"))
    target = PostgresTarget(str(top / "back"), FACTS, around)
    target.prepare()
    who = os.geteuid(), os.getegid()
    target.put_plain(Entry(b".", int(Kind.DIRECTORY), 0o700, *who, 0))
    for path, data in files.items():
        entry = Entry(path, int(Kind.FILE), 0o600, *who, 0, len(data))
        assert target.put_small(entry, data) is None
    assert target.finish() == ()
    found = (path for path in (top / "back").rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in found}


def test_a_snapshot_of_a_standby_does_not_come_back_as_one(tmp_path) -> None:
    """Older snapshots hold the file that makes one."""
    found = put_back(tmp_path, {**SIGNALS, b"global/pg_control": b"control"})
    assert "standby.signal" not in found
    assert found["recovery.signal"] == b""
    assert found["pg_control"] == b"control"


def test_files_that_are_no_cluster_come_back_as_they_are(tmp_path) -> None:
    conf = b"data_directory = '/srv/live'\n"
    found = put_back(tmp_path, {**SIGNALS, b"postgresql.conf": conf})
    assert found == {
        "postgresql.conf": conf,
        "standby.signal": b"",
        "recovery.signal": b"of the source",
    }
