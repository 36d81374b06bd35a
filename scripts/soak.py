"""See scripts/soak."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLAN = """\
version: 1
name: soak
sites: {here: {failure_domain: a}, there: {failure_domain: b}}
repositories:
  first: {site: here, path: first, keep: {last: 3, grace: 1ms}}
  second: {site: there, path: second, copy_of: first, keep: {last: 2, grace: 1ms}}
keys: {credential: file:keys/writer.key}
assets:
"""
KEPT = {"first": 3, "second": 2}
ENDS_WELL = (0, 11)  # 11: the copy is behind
MAY_BE_REFUSED = (*ENDS_WELL, 2, 5)  # it was taken for dead, or came too late
COMMITTED = Path("generation")


@dataclass
class Soak:
    """`truth`: what sha256sum said of an asset's tree in each generation. `acknowledged`: of these,
    what a command said that it had committed."""

    top: Path
    seed: int
    end: float
    sums: Counter[str] = field(default_factory=Counter)
    truth: dict[tuple[str, int], str] = field(default_factory=dict)
    acknowledged: dict[str, list[int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.top), "LC_ALL": "C.UTF-8"}
        variables |= {"DRCTL_PASSPHRASE": "correct horse", "DRCTL_STATE_DIR": f"{self.top}/state"}
        return subprocess.Popen(
            [sys.executable, "-m", "drctl", "--plan", f"{self.top}/plan.yaml", *words],
            env=variables,
            cwd=self.top,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def attempt(self, chance: random.Random, *words: str) -> int:
        """A command that may be killed. Gives its exit code, negative when it was."""
        process = self.begin(*words)
        patience = chance.uniform(0.3, 4.0) if chance.random() < 0.5 else 300.0
        try:
            _, said = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, said = process.communicate()
        code = process.returncode
        with self.lock:
            self.sums[f"{words[0]} {'killed' if code < 0 else f'exit {code}'}"] += 1
            if "Traceback" in said or not (code < 0 or code in MAY_BE_REFUSED):
                self.wrong.append(f"{words}: exit {code}: {said[-2000:]}")
        return code

    def must(self, *words: str) -> Any:
        """The answer of a command that nobody disturbs."""
        process = self.begin(*words, "--json")
        out, said = process.communicate(timeout=600)
        if process.returncode not in ENDS_WELL:
            raise AssertionError(f"{words}: exit {process.returncode}: {said[-2000:]}")
        return json.loads(out)


def shasums(tree: Path) -> str:
    command = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
    done = subprocess.run(
        ["sh", "-c", command], cwd=tree, capture_output=True, text=True, check=True
    )
    return done.stdout


# -- who is at it ---------------------------------------------------------------------------------


def change(soak: Soak, asset: str, number: int, chance: random.Random) -> None:
    """Out of the same few contents for all, so that what was removed is wanted again."""
    tree = soak.top / "live" / asset
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for which in chance.sample(range(24), 6):
        content = random.Random(f"{soak.seed} {which}").randbytes(40_000 * (1 + which))
        (tree / f"file-{which}").write_bytes(content)
    (tree / COMMITTED).write_text(str(number))
    soak.truth[asset, number] = shasums(tree)


def write(soak: Soak, asset: str) -> None:
    chance = random.Random(f"{soak.seed} {asset}")
    number = 0
    while time.monotonic() < soak.end:
        number += 1
        change(soak, asset, number, chance)
        code = soak.attempt(chance, "backup", asset, "--json")
        if code in ENDS_WELL:
            soak.acknowledged.setdefault(asset, []).append(number)


def keep_at(soak: Soak, role: str) -> None:
    chance = random.Random(f"{soak.seed} {role}")
    while time.monotonic() < soak.end:
        words = [role]
        if role == "prune":
            words += ["--grace", chance.choice(["1ms", "1ms", "3s"])]
            words += ["--patience", chance.choice(["1ms", "3s", "1h"])]
        elif role == "undelete":
            trashed = list((soak.top / "first/trash/snapshots").glob("*"))
            words += [chance.choice(trashed).name if trashed else "0" * 64]
        soak.attempt(chance, *words)
        time.sleep(chance.random())


# -- what must hold -------------------------------------------------------------------------------


def settle(soak: Soak, assets: list[str]) -> None:
    """Nobody is killed any more: everything comes to rest."""
    for asset in assets:
        soak.must("backup", asset)
    for _ in range(2):
        soak.must("prune", "--grace", "1ms", "--patience", "1ms")
        soak.must("replicate")


def examine(soak: Soak, repository: str) -> None:
    done = soak.must("verify", "--from", repository, "--read-data", "100")
    soak.wrong += [f"{repository}: verify: {what}" for what in done["wrong"]]
    listed = soak.must("snapshots", "--from", repository)
    there: dict[str, list[int]] = {}
    for snapshot in listed:
        there.setdefault(snapshot["asset"], []).append(restored(soak, repository, snapshot))
    for asset, numbers in there.items():
        if len(numbers) < KEPT[repository]:
            soak.wrong.append(f"{repository}: {asset} has only {numbers}")
        elif lost := missing(soak, asset, numbers, repository):
            soak.wrong.append(f"{repository}: {asset} has {numbers}, not {lost}")
    soak.sums[f"snapshots in {repository}"] = len(listed)


def missing(soak: Soak, asset: str, numbers: list[int], repository: str) -> list[int]:
    """What was committed since the oldest of the newest that the rule keeps. (Older ones may be
    there, too: the last good ones stay, where the guard takes all that came later for suspect.)"""
    oldest = sorted(numbers)[-KEPT[repository]]
    committed = soak.acknowledged.get(asset, [])
    return [number for number in committed if number > oldest and number not in numbers]


def restored(soak: Soak, repository: str, snapshot: dict[str, Any]) -> int:
    """Which generation it is."""
    to = soak.top / "back"
    shutil.rmtree(to, ignore_errors=True)
    soak.must("restore", snapshot["id"], "--from", repository, "--to", str(to))
    (found,) = list(to.rglob(str(COMMITTED)))
    number = int(found.read_text())
    if shasums(found.parent) != soak.truth[snapshot["asset"], number]:
        soak.wrong.append(f"{repository}: {snapshot['id']} came back otherwise")
    soak.sums["restores compared"] += 1
    return number


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    assets = [f"asset-{number}" for number in range(given.writers)]
    given.work.mkdir(parents=True)
    soak = Soak(given.work.resolve(), given.seed, time.monotonic() + 60 * given.minutes)
    lines = (f"  {a}: {{files: {{paths: [live/{a}]}}, schedule: hourly}}\n" for a in assets)
    (soak.top / "plan.yaml").write_text(PLAN + "".join(lines))
    for asset in assets:
        change(soak, asset, 0, random.Random(given.seed))
    soak.must("init")
    at_it = [threading.Thread(target=write, args=(soak, asset)) for asset in assets]
    at_it += [
        threading.Thread(target=keep_at, args=(soak, role))
        for role in ("prune", "prune", "replicate", "undelete")
    ]
    for thread in at_it:
        thread.start()
    for thread in at_it:
        thread.join()
    settle(soak, assets)
    for repository in KEPT:
        examine(soak, repository)
    print(json.dumps({**dict(sorted(soak.sums.items())), "wrong": soak.wrong}))
    return bool(soak.wrong)


if __name__ == "__main__":
    sys.exit(main())
