"""What is written where a cluster is put back, and what of a snapshot is not."""

import json
import os
import tracemalloc

from drctl.clock import SystemClock
from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.engines.base import Goal, Surroundings
from drctl.engines.postgres_target import PostgresTarget
from drctl.events import Silent
from drctl.model import Entry, Kind
from drctl.repository import lifecycle
from drctl.repository.log import LogReader, LogWriter
from drctl.storage.memory import Memory

CLUSTER = {"timeline": 1, "segment_bytes": 1 << 20, "system_id": 7, "major": 15}
FACTS = {"cluster": json.dumps(CLUSTER), "wal_end": "0/3000028"}
SIGNALS = {b"standby.signal": b"", b"recovery.signal": b"of the source"}


def around_of(top, goal: Goal, log: LogReader | None = None) -> Surroundings:
    return Surroundings(SystemClock(), Silent(), str(top), str(top), goal=goal, log=log)


def put_back(top, files: dict[bytes, bytes], around=None, facts=FACTS) -> dict[str, bytes]:
    """Restore these into a directory, and give what is there."""
    around = around or around_of(top, Goal("immediate"))
    target = PostgresTarget(str(top / "back"), facts, around)
    target.prepare()
    who = os.geteuid(), os.getegid()
    target.put_plain(Entry(b".", int(Kind.DIRECTORY), 0o700, *who, 0))
    for path, data in files.items():
        entry = Entry(path, int(Kind.FILE), 0o600, *who, 0, len(data))
        assert target.put_small(entry, data) is None
    assert target.finish() == ()
    found = (path for path in (top / "back").rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in found if path.parent.name != "pg_wal"}


def test_a_segment_of_the_log_comes_back_without_being_in_memory_as_a_whole(tmp_path) -> None:
    """It may have 1 GiB."""
    size, piece = 64 << 20, bytes(range(256)) * (64 << 10)
    identity = new_identity("someone", os.urandom)
    credential = WriterCredential(new_secrets(os.urandom), (identity.recipient(),))
    repository = lifecycle.create(Memory(), credential, os.urandom)
    writer = LogWriter(repository, bytes(8))
    whole, last = "000000010000000000000001", "000000010000000000000002"
    for at in range(0, size, len(piece)):
        writer.append(whole, at, piece, whole=at + len(piece) == size)
    writer.append(last, 0, piece[:100])
    writer.append(last, 50, piece[50:200])
    around = around_of(tmp_path, Goal(), LogReader(repository, identity, writer.stream))
    known = {**FACTS, "cluster": json.dumps({**CLUSTER, "segment_bytes": size})}
    tracemalloc.start()
    files = {b"global/pg_control": b"control"}
    assert put_back(tmp_path, files, around, known)["pg_control"] == b"control"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < size
    found = tmp_path / "back/pg_wal"
    assert (found / whole).read_bytes() == piece * 4
    assert (found / last).read_bytes() == piece[:200] + bytes(size - 200)


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
