"""What a run asks of its storage: far away, each call costs a round trip."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "faults"))

from small_site import Site, random_tree, write_tree

from drctl.storage.meter import Meter


def test_a_run_asks_for_nothing_twice(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        site = Site(tmp_path, pool)
        write_tree(site.live, random_tree(7, 6, 600))
        storage = site.new_repository()
        snapshot = site.backup(storage)

        backup, restore, verify = Meter(storage), Meter(storage), Meter(storage)
        site.backup(backup)
        site.restored(restore, snapshot.name)
        assert site.verified(verify) == []

    # config, sign, marks, packs, sessions, indexes, an index; refs, snapshots, one of them, sign,
    # manifest, sign, and the sign is taken away
    assert dict(backup.calls) == {"get": 3, "put": 3, "list": 5, "head": 2, "delete": 1}
    # config, key, index, two snapshots, a session, the entries and the data of one pack
    assert dict(restore.calls) == {"list": 4, "get": 8}
    # the same, the keys and the refs of two; then every object whole, for its own proof
    assert dict(verify.calls) == {"list": 9, "get": 19}
