"""One process and all that it started, as the operating system accounts for it."""

import json
import mmap
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


_MIB = 1 << 20


def run(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, touched_mib: float = 1024
) -> Sample:
    """Run to the end. `touched_mib`: of memory, what it holds and what it writes. Raises
    SystemExit, with the log's end, when it fails."""
    os.sync()
    have_memory(touched_mib)
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


def have_memory(mib: float) -> None:
    """A virtual machine's host takes back what lies free for seconds, and whoever is the first to
    touch it pays for that: a restore into memory took 3.4 s or 6.2 s. Which part of what is free it
    will get nobody knows, so more than it needs is touched."""
    free_mib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _MIB
    with mmap.mmap(-1, max(1, int(min(3 * mib, 0.8 * free_mib))) * _MIB) as memory:
        while memory.tell() < len(memory):
            memory.write(bytes(_MIB))


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
    return sum(sizes) / _MIB
