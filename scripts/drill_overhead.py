"""Measures a drill's restore beside a plain one; see scripts/drill-overhead."""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PLAN = """\
version: 1
name: overhead
objectives: {rpo: 30d, rto: 1h}
sites: {main: {failure_domain: a}, dr: {failure_domain: b}}
repositories:
  local: {site: main, path: local}
  offsite: {site: dr, path: offsite, copy_of: local}
assets:
  tree: {files: {paths: [live]}}
drills:
  away: {from: offsite}
evidence: {key: "file:keys/evidence.key"}
"""
FILES = 20_000
SIZE_BYTES = 1 << 30
MOST = 1.1


def make_files(top: Path) -> None:
    """Half of each file compresses, half does not; sizes differ by a factor of 16."""
    chance = random.Random(1)
    words = b"".join(b"order %d of customer %d\n" % (n, n % 97) for n in range(20_000))
    for number in range(FILES):
        folder = top / f"{number % 100:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        half = round(SIZE_BYTES / FILES / 2 * 4 ** chance.uniform(-1, 1) / 1.35)
        begin = chance.randrange(len(words) // 2)
        data = chance.randbytes(half) + words[begin : begin + half]
        (folder / f"{number:05d}").write_bytes(data)


# Runs drctl as a person does, and leaves the CPU seconds that its process took while it restored,
# with all that its other threads did meanwhile.
COUNTED = """
import sys, time
from drctl.ops import restore as module
plain, path = module.restore, sys.argv.pop(1)
def counted(*given):
    began = time.process_time()
    done = plain(*given)
    with open(path, "w") as file:
        file.write(str(time.process_time() - began))
    return done
module.restore = counted
from drctl.cli.main import main
main()
"""


class Place:
    """A plan and its repositories in a directory."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.variables: dict[str, str] = {}
        self.program: tuple[str, ...] = ("-m", "drctl")

    def drctl(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        environment = {
            **os.environ,
            "DRCTL_PASSPHRASE": "overhead",
            "DRCTL_STATE_DIR": str(self.top / "state"),
            **self.variables,
        }
        argv = [sys.executable, *self.program, "--plan", str(self.top / "plan.yaml"), "--json"]
        done = subprocess.run(
            [*argv, *words],
            env=environment,
            cwd=self.top,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode not in codes:
            sys.exit(f"drctl {' '.join(words)}: exit {done.returncode}: {done.stdout.decode()}")
        return json.loads(done.stdout)

    def prepare(self) -> None:
        if (self.top / "offsite").exists():
            return
        make_files(self.top / "live")
        (self.top / "plan.yaml").write_text(PLAN)
        self.drctl("init")
        self.drctl("backup")

    def plain(self) -> float:
        """Seconds of the restoring, as it tells them."""
        to = self.top / "back"
        os.sync()
        told = self.drctl("restore", "tree", "--from", "offsite", "--to", str(to))
        shutil.rmtree(to)
        return float(told["seconds"])

    def drill(self) -> float:
        """The same of a drill: from when the step was begun to when it was over."""
        os.sync()
        return float(self.drctl("drill", "away")["timing"]["restore_seconds"])


class Counting(Place):
    """The same in CPU seconds, which tell something while others use the machine, too."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self._told = top / "cpu-seconds"
        self.program = ("-c", COUNTED, str(self._told))

    def plain(self) -> float:
        super().plain()
        return float(self._told.read_text())

    def drill(self) -> float:
        super().drill()
        return float(self._told.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    given = parser.parse_args()
    top = given.work.resolve()
    top.mkdir(parents=True, exist_ok=True)
    Place(top).prepare()
    place = Counting(top) if given.cpu else Place(top)
    if given.prepare:
        return 0
    began = time.monotonic()
    plain, drilled = [], []
    for _ in range(given.pairs):
        plain.append(place.plain())
        drilled.append(place.drill())
        print(f"restore {plain[-1]:6.2f} s   drill's {drilled[-1]:6.2f} s", flush=True)
    ratio = statistics.median(drilled) / statistics.median(plain)
    print(
        f"medians {statistics.median(plain):.2f} s and {statistics.median(drilled):.2f} s: "
        f"{ratio:.2f} times ({time.monotonic() - began:.0f} s)"
    )
    return ratio > MOST


if __name__ == "__main__":
    sys.exit(main())
