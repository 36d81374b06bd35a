"""One process and all that it started, as the operating system accounts for it."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """`rss_mib`: the peak of the largest single process."""

    wall_seconds: float
    cpu_seconds: float
    rss_mib: float


def run(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Sample:
    """Run to the end. Raises SystemExit, with the log's end, when it fails."""
    os.sync()
    with log.open("ab") as out:
        began = time.monotonic()
        process = subprocess.Popen(
            argv, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.stderr.write(log.read_text(errors="replace")[-2000:])
        raise SystemExit(f"bench: {' '.join(argv)}: exit status {process.returncode}")
    return Sample(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


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
