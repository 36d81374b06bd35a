"""How quickly drctl answers: `--help`, a thousand snapshots, a repository of a million blobs."""

import ctypes
import gc
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmark.tools import PLAN, Drctl
from drctl.clock import system_randomness
from drctl.codec import documents, table
from drctl.codec.documents import Manifest
from drctl.codec.keys import decode_credential
from drctl.codec.table import PackTable, Segment
from drctl.repository import catalog, lifecycle, names
from drctl.repository.repository import Repository
from drctl.storage.local import Local

SNAPSHOTS, BLOBS, RUNS = 1000, 1_000_000, 9
_INDEXES, _PACKS, _SEGMENTS, _SEGMENT_BLOBS = 16, 64, 16, 61  # a blob of 17 KiB on average
_STORED = 300_000  # of a segment, in bytes
_DAY_NS = 86_400 * 10**9


def prepare(work: Path) -> Repository:
    """A repository as drctl makes it, open."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    asset = Drctl.asset.format(data=work)
    (work / "plan.yaml").write_text(PLAN.format(place="path: repository", asset=asset))
    os.environ |= {
        "DRCTL_PLAN": str(work / "plan.yaml"),
        "DRCTL_STATE_DIR": str(work / "state"),
        "DRCTL_PASSPHRASE": "bench",
    }
    subprocess.run(["drctl", "init", "-q"], check=True)
    credential = decode_credential((work / "writer.key").read_text())
    return lifecycle.open_as_writer(Local(str(work / "repository")), credential, system_randomness)


def add_snapshots(repository: Repository) -> None:
    for day in range(SNAPSHOTS):
        at = time.time_ns() - day * _DAY_NS
        catalog.commit(
            repository,
            Manifest("data", "files", "host", at, at, at, 1, 1, 1, 0, secrets.token_bytes(32), ""),
        )


def add_index(repository: Repository, place: Path) -> None:
    """Indexes of a million blobs, in packs that are one hole each: opening lists them all and looks
    into none."""
    session, _ = repository.start_session()
    for _ in range(_INDEXES):
        packs = [_pack(session) for _ in range(_PACKS)]
        repository.put_meta(names.INDEX, documents.INDEX_MAGIC, table.encode(packs))
        for pack in packs:
            path = place / names.named(names.PACKS, pack.name.hex())
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(8 + (_SEGMENTS + 1) * _STORED)


def _pack(session: bytes) -> PackTable:
    segments = (
        Segment(session, number, 8 + number * _STORED, _STORED, 1 << 20, 1, _blobs())
        for number in range(_SEGMENTS)
    )
    return PackTable(secrets.token_bytes(32), tuple(segments))


def _blobs() -> tuple[tuple[bytes, int], ...]:
    return tuple((secrets.token_bytes(32), 17_189) for _ in range(_SEGMENT_BLOBS))


def median_seconds(argv: list[str]) -> float:
    def once() -> float:
        began = time.perf_counter()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    once()
    return statistics.median(once() for _ in range(RUNS))


def answers(work: Path) -> None:
    repository = prepare(work)
    add_snapshots(repository)
    print(f"drctl --help: {median_seconds(['drctl', '--help']) * 1000:.0f} ms")
    listing = median_seconds(["drctl", "snapshots"])
    print(f"drctl snapshots, of {SNAPSHOTS}: {listing * 1000:.0f} ms", flush=True)
    add_index(repository, work / "repository")
    for _ in range(3):  # each in a process whose memory nothing else has used
        subprocess.run([sys.executable, "-m", "benchmark.answers", str(work)], check=True)
    shutil.rmtree(work)


def opening(work: Path) -> None:
    credential = decode_credential((work / "writer.key").read_text())
    storage = Local(str(work / "repository"))
    repository = lifecycle.open_as_writer(storage, credential, system_randomness)
    before, began = _resident_bytes(), time.perf_counter()
    index = repository.load_index(print)
    seconds = time.perf_counter() - began
    each = (_resident_bytes() - before) / len(index)
    print(f"opening {len(index)} blobs: {seconds:.2f} s, {each:.0f} bytes of memory a blob")


def _resident_bytes() -> int:
    """Without what was given back and only waits to be used again."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    opening(Path(sys.argv[1]))
