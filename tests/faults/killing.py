"""`kill -9` of the real command, in the middle of whatever it does, at instants a seed gives.

What must hold after each: every snapshot comes back byte for byte, everything verifies, and the
next run completes. Used by the tests a few times, and by scripts/torture hundreds of times.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from servers import ACCESS_KEY, SECRET_KEY
from small_site import Kept, read_tree

from drctl import private
from drctl.clock import SystemClock
from drctl.codec.keys import decode_identity
from drctl.codec.recipients import Identity
from drctl.events import Silent
from drctl.model import Snapshot
from drctl.ops.restore import restore
from drctl.ops.verify import Effort, verify
from drctl.repository import catalog, lifecycle, names
from drctl.repository.reader import Reader
from drctl.storage.base import Storage

PASSPHRASE = "correct horse"
PLAN = """\
version: 1
name: torture
sites: {here: {failure_domain: a}, there: {failure_domain: b}}
repositories:
  first: {site: here, FIRST}
  second: {site: there, path: second, copy_of: first}
keys: {credential: file:keys/writer.key}
assets:
  tree: {files: {paths: [live]}, schedule: hourly}
"""
STAGES = {"": "nothing", names.SESSIONS: "session", names.PACKS: "packs", names.INDEX: "index",
          names.REFS: "refs", names.SNAPSHOTS: "snapshot"}  # fmt: skip


@dataclass
class Rig:
    """A live tree, a first repository in `first` and a second one that is its copy, on a disk.
    `opened` gives the storage of a repository by its name in the plan."""

    top: Path
    place: str  # of the first repository, as the plan says it
    opened: Callable[[str], Storage]
    pool: Executor
    seed: int
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    stages: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    too_late: int = 0
    checked: int = 0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        (self.top / "live").mkdir(parents=True)
        (self.top / "plan.yaml").write_text(PLAN.replace("FIRST", self.place))
        assert self.run("init") == 0
        self.identity = self._identity()
        self.change(6 << 20)
        self.complete()

    def _identity(self) -> Identity:
        return decode_identity((self.top / "keys/identity.key").read_text(), PASSPHRASE)

    # -- what happens -------------------------------------------------------------------------

    def change(self, most_bytes: int) -> None:
        """Some files are new, some are other, some are gone."""
        live, chance = self.top / "live", self.chance
        for path in sorted(live.rglob("*")):
            if path.is_file() and chance.random() < 0.15:
                path.unlink()
        left = chance.randrange(most_bytes)
        while left > 0:
            size = min(left, chance.choice([10, 3000, 100_000, 2_000_000]))
            path = live / f"d{chance.randrange(4)}" / f"f{chance.randrange(60)}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(chance.randbytes(size))
            left -= size + 1

    def start(self, *words: str) -> "subprocess.Popen[bytes]":
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.top), "LC_ALL": "C.UTF-8"}
        variables |= {"DRCTL_PASSPHRASE": PASSPHRASE, "DRCTL_STATE_DIR": str(self.top / "state")}
        argv = [sys.executable, "-m", "drctl", "--plan", str(self.top / "plan.yaml"), *words]
        return subprocess.Popen(
            argv,
            env=variables,
            cwd=self.top,
            stdout=subprocess.DEVNULL,
            stderr=(self.top / "said").open("wb"),
            start_new_session=True,
        )

    def run(self, *words: str) -> int:
        """The exit code of a command that is let be."""
        code = self.start(*words).wait(timeout=300)
        said = (self.top / "said").read_text()
        assert "Traceback" not in said, said
        assert code in (0, 11), f"{words}: exit {code}: {said}"
        return code

    def complete(self) -> float:
        """A whole run. Gives how many seconds it took."""
        began = time.monotonic()
        self.run("backup")
        self._learn()
        return time.monotonic() - began

    def kill(self, after_seconds: float, *words: str, since_first_write: bool) -> None:
        """Start a command, and end it and its children with SIGKILL, so long after its start or
        after it began to write."""
        before = {info.name for info in self.opened("first").list()}
        process = self.start(*words)
        while since_first_write and process.poll() is None and not self._has_begun(before):
            time.sleep(0.005)
        try:
            process.wait(timeout=after_seconds)
            self.too_late += 1
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.kills += 1
        added = {info.name for info in self.opened("first").list()} - before
        reached = [stage for stage in STAGES if any(name.startswith(stage) for name in added)]
        self.stages[STAGES[reached[-1] if reached else ""]] += 1
        self._learn()

    def _has_begun(self, before: set[str]) -> bool:
        return any(info.name not in before for info in self.opened("first").list(names.SESSIONS))

    def _learn(self) -> None:
        """A snapshot that was not there before is of the live tree as it is."""
        for info in self.opened("first").list(names.SNAPSHOTS):
            digest = names.digest_of(info.name)
            self.trees.setdefault(digest, read_tree(self.top / "live"))

    # -- what must hold -----------------------------------------------------------------------

    def must_hold(self, which: str) -> None:
        """The repository verifies, all data read, and snapshots come back: all at the end of a
        series, some after each kill."""
        storage = self.opened(which)
        if which != "first" and not any(storage.list(names.SNAPSHOTS)):
            return
        repository = lifecycle.open_as_reader(storage, self.identity, os.urandom)
        done = verify(storage, repository, self.identity, Effort(100, 0), self.pool, Silent())
        assert done.wrong == []
        known = set(self.trees)
        found = catalog.load(repository, self.pool)
        assert found.damaged == ()
        self._learn()  # a server may have completed by now what was under way at a kill
        assert which != "first" or known <= {s.name for s in found.snapshots} <= set(self.trees)
        reader = Reader(repository, repository.load_index(lambda _: None), self.identity)
        for snapshot in self._some(list(found.snapshots)):
            kept = Kept()
            result = restore(snapshot, reader, kept, self.pool, SystemClock(), Silent())
            assert (result.problems, kept.files) == ((), self.trees[snapshot.name])
            self.checked += 1

    def _some(self, found: list[Snapshot]) -> list[Snapshot]:
        """The newest, and two others."""
        return found[-1:] + self.chance.sample(found[:-1], min(2, len(found) - 1))


def s3_place(top: Path, bucket: str, endpoint: str) -> str:
    """How a plan names a bucket of the tests' server. The keys go to files of their own."""
    for name, value in (("access", ACCESS_KEY), ("secret", SECRET_KEY)):
        private.write_new(str(top / name), value)
    keys = "{access_key: 'file:access', secret_key: 'file:secret'}"
    return f"s3: {{bucket: {bucket}, endpoint: '{endpoint}', credentials: {keys}}}"


def series(rig: Rig, kills: int) -> None:
    """Kill so many runs of one rig, each followed by all that must hold and by a whole run."""
    rig.change(3 << 20)
    whole_seconds = rig.complete()
    for _ in range(kills):
        rig.change(rig.chance.choice([200_000, 3 << 20, 18 << 20]))
        if rig.chance.random() < 0.7:
            after_seconds = rig.chance.uniform(0, 0.35) * whole_seconds
            rig.kill(after_seconds, "backup", since_first_write=True)
        else:
            words = rig.chance.choice(["backup", "replicate"])
            rig.kill(rig.chance.uniform(0.2, 1) * whole_seconds, words, since_first_write=False)
        rig.must_hold("first")
        rig.must_hold("second")
        whole_seconds = 0.7 * whole_seconds + 0.3 * rig.complete()
    rig.must_hold("first")
    rig.must_hold("second")
