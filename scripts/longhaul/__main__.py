"""Runs the parts that were asked for, and tells what came of each."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from longhaul import damage, disks, faults, fuzz, interrupts, kills, network
from longhaul.common import Haul

PARTS: dict[str, Callable[[Haul], dict[str, object]]] = {
    "faults": faults.run,
    "damage": damage.run,
    "kills-local": kills.local,
    "kills-s3": kills.s3,
    "fuzz": fuzz.run,
    "interrupts": interrupts.run,
    "disks": disks.run,
    "network": network.run,
}


@dataclass(frozen=True)
class _Asked:
    """The command line."""

    work: Path
    only: list[str]
    haul: dict[str, int]
    json: Path | None


def _asked() -> _Asked:
    parser = argparse.ArgumentParser(prog="scripts/torture")
    parser.add_argument(
        "--work", type=Path, required=True, help="a directory with some GiB of room"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=300, help="for each kind of storage")
    parser.add_argument("--step", type=int, default=1, help="damage every so many bytes")
    parser.add_argument("--fuzz-seconds", type=int, default=600)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    numbers = {name: getattr(given, name) for name in ("seed", "kills", "step", "fuzz_seconds")}
    return _Asked(given.work, given.only, numbers, given.json)


def main() -> int:
    """One line and one entry of the document for each part. A part that finds something says so and
    ends there; the others go on."""
    asked = _asked()
    asked.work.mkdir(parents=True, exist_ok=True)
    document: dict[str, dict[str, object]] = {}
    for name in asked.only:
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool, TemporaryDirectory(dir=asked.work) as top:
            haul = Haul(Path(top), pool, **asked.haul)
            try:
                found = PARTS[name](haul)
            except AssertionError as error:
                found = {"FAILED": str(error), "at": haul.where}
        found["seconds"] = round(time.monotonic() - began, 1)
        document[name] = found
        print(f"{name}: {json.dumps(found)}", flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(document, indent=1) + "\n")
    return any("FAILED" in found for found in document.values())


sys.exit(main())
