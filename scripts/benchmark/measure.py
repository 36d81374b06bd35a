"""One process and all that it started, as the operating system accounts for it."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.ending import ending_with_us


@dataclass(frozen=True)
class Sample:
    """`rss_mib`: the peak of the largest single process. `requests`: to an S3 server behind the
    proxy."""

    wall_seconds: float
    cpu_seconds: float
    rss_mib: float
    requests: float = 0


def run(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Sample:
    """Run to the end. Raises SystemExit, with the log's end, when it fails."""
    os.sync()
    result = log.with_name("sample")
    launch = [sys.executable, "-IS", str(Path(__file__).with_name("launch.py")), str(result)]
    with log.open("ab") as out:
        status = subprocess.call(
            ending_with_us([*launch, *argv]),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    if status:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise SystemExit(f"bench: {' '.join(argv)}: exit status {status}")
    return Sample(*json.loads(result.read_text()))


def median(samples: Sequence[Sample]) -> Sample:
    """Each figure's own median."""
    columns = zip(*(asdict(sample).values() for sample in samples), strict=True)
    return Sample(*(statistics.median(column) for column in columns))


def tree_mib(path: Path) -> float:
    """What the files below a path take, in MiB of content."""
    sizes = (
        os.lstat(os.path.join(top, name)).st_size
        for top, _, names in os.walk(path)
        for name in names
    )
    return sum(sizes) / (1 << 20)
