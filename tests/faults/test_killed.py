"""`kill -9` of the real command: a few times here, hundreds of times in scripts/torture."""

from pathlib import Path

import pytest
from killing import Rig, s3_place, series

from drctl.storage.base import Storage
from drctl.storage.local import Local

KILLS = 4


@pytest.fixture(params=["local", "s3"])
def rig(request, tmp_path: Path, pool) -> Rig:
    place = "path: first"
    first: Storage = Local(str(tmp_path / "first"))
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        bucket = server.new_bucket()
        first = server.storage(bucket)
        place = s3_place(tmp_path, bucket, server.endpoint)
    copies = {"first": first, "second": Local(str(tmp_path / "second"))}
    return Rig(tmp_path, place, copies.__getitem__, pool, seed=20260402)


def test_nothing_is_lost_by_a_kill_at_any_instant(rig) -> None:
    series(rig, KILLS)
    assert rig.kills + rig.too_late == KILLS
    assert rig.checked > 2 * KILLS
