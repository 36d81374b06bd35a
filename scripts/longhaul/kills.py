"""`kill -9` of the real command, hundreds of times."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from killing import Rig, s3_place, series
from servers import shared_s3

from drctl.storage.base import Storage
from drctl.storage.local import Local
from longhaul.common import Haul

_SERIES = 20  # kills of one repository, before a new one is made


def local(haul: Haul) -> dict[str, object]:
    """A repository in a directory, and its copy in another."""

    def place(top: Path) -> tuple[str, Storage]:
        return "path: first", Local(str(top / "first"))

    return _run(haul, place)


def s3(haul: Haul) -> dict[str, object]:
    """A repository in a bucket of a real server, and its copy in a directory."""
    with shared_s3(haul.top / "server") as server:

        def place(top: Path) -> tuple[str, Storage]:
            bucket = server.new_bucket()
            top.mkdir(parents=True)
            return s3_place(top, bucket, server.endpoint), server.storage(bucket)

        return _run(haul, place)


def _run(haul: Haul, place: Callable[[Path], tuple[str, Storage]]) -> dict[str, object]:
    stages: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    while (done := sums["kills"] + sums["too_late"]) < haul.kills:
        seed = haul.seed * 100_000 + done
        haul.where = f"series with seed {seed}"
        top = haul.top / str(seed)
        where, first = place(top)
        copies = {"first": first, "second": Local(str(top / "second"))}
        rig = Rig(top, where, copies.__getitem__, haul.pool, seed)
        began = time.monotonic()
        series(rig, min(_SERIES, haul.kills - done))
        stages += rig.stages
        sums += Counter(
            kills=rig.kills,
            too_late=rig.too_late,
            snapshots=len(rig.trees),
            restores_compared=rig.checked,
            seconds=round(time.monotonic() - began),
        )
        print(f"  {haul.where}: {dict(sums)}", flush=True)
    return {**sums, "what_the_killed_run_had_written": stages}
