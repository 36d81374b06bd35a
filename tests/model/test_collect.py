"""Writers, collectors and people who bring snapshots back, all at once at one repository. Every
call to the storage is a point at which any of them may be paused for days, or killed. Whatever
happens: a snapshot that is listed reads back, and what nothing needs is gone in the end."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

sys.path.insert(0, str(Path(__file__).parent))

from stepped import Actor, AtOnce, Stepped, must_be_understood
from test_repository import Source, Tree

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.events import Silent
from drctl.ops.backup import Around, Asset, backup
from drctl.ops.prune import Effort, prune
from drctl.ops.undelete import undelete
from drctl.repository import catalog, holds, lifecycle, names, writer
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.repository.state import StateFile
from drctl.storage.memory import Memory

DAY = 86_400
FILES = [b"a", b"b", b"c", b"d", b"e"]


@pytest.fixture(autouse=True, scope="module")
def small_packs() -> Iterator[None]:
    """Many segments and packs of little data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SEGMENT_TARGET_BYTES", 1_000)
        patch.setattr(writer, "PACK_TARGET_BYTES", 4_000)
        yield


class Time:
    """A clock of its own: the storage's, or a host's, which may be days off."""

    def __init__(self, off_seconds: float = 0.0) -> None:
        self.seconds = 1_000 * DAY + off_seconds

    def now_ns(self) -> int:
        return round(self.seconds * 1e9)

    def monotonic_seconds(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class CollectMachine(RuleBasedStateMachine):
    """`trees`: what each run backs up, by the tag that its snapshot carries."""

    @initialize(seed=st.integers(0, 1000))
    def make(self, seed: int) -> None:
        self.randomness = random.Random(seed).randbytes
        self.folder = TemporaryDirectory()
        self.identity = new_identity("reader", self.randomness)
        self.credential = WriterCredential(
            new_secrets(self.randomness), (self.identity.recipient(),)
        )
        self.storage_time = Time()
        self.storage = Memory(self.storage_time)
        lifecycle.create(self.storage, self.credential, self.randomness)
        self.actors: list[Actor] = []
        self.trees: dict[str, Tree] = {}
        self.live: dict[int, Tree] = {0: {}, 1: {}}
        self.runs = 0

    def teardown(self) -> None:
        if hasattr(self, "actors"):
            self._must_end_well()
            self.folder.cleanup()

    # -- who is at it -------------------------------------------------------------------------

    @rule(host=st.integers(0, 1), path=st.sampled_from(FILES), seed=st.integers(0, 3))
    def write(self, host: int, path: bytes, seed: int) -> None:
        self.live[host][path] = random.Random(seed).randbytes(300 + 400 * seed)

    @rule(host=st.integers(0, 1), steps=st.integers(0, 60))
    def start_backup(self, host: int, steps: int) -> None:
        """Two hosts whose clocks are two days apart, which share much of their data."""
        tree, tag = dict(self.live[host]), str(self.runs)
        self.trees[tag] = tree
        clock = Time(DAY if host else -DAY)

        def work(actor: Actor) -> None:
            source = Source(tree)
            source.consistent_at_ns = self.storage_time.now_ns()
            state = StateFile(str(Path(self.folder.name) / f"{host}-{tag}.state"))
            around = Around(self._open(actor), state, AtOnce(), clock, Silent())
            backup(Asset(f"host-{host}", "files", source, level=1, tags=(tag,)), around)

        self._start(f"backup {tag}", work, steps)

    @rule(
        keep=st.integers(1, 3),
        grace=st.sampled_from([0, 0, 1, DAY]),
        patience=st.sampled_from([0, 1, DAY]),
        budget=st.sampled_from([0, 1 << 30]),
        steps=st.integers(0, 80),
    )
    def start_prune(self, keep: int, grace: int, patience: int, budget: int, steps: int) -> None:
        def work(actor: Actor) -> None:
            effort = Effort(grace, patience, budget)
            prune(self._open(actor), Rule(last=keep), effort, AtOnce(), self.storage_time, Silent())

        self._start("prune", work, steps)

    @precondition(lambda self: any(self.storage.list(names.TRASHED)))
    @rule(which=st.integers(0, 100), steps=st.integers(0, 30))
    def start_undelete(self, which: int, steps: int) -> None:
        found = sorted(names.digest_of(info.name) for info in self.storage.list(names.TRASHED))

        def work(actor: Actor) -> None:
            undelete(self._open(actor), found[which % len(found)], Time())

        self._start("undelete", work, steps)

    @precondition(lambda self: any(self.storage.list(names.SNAPSHOTS)))
    @rule(which=st.integers(0, 100))
    def hold(self, which: int) -> None:
        found = sorted(names.digest_of(info.name) for info in self.storage.list(names.SNAPSHOTS))
        repository = lifecycle.open_as_writer(self.storage, self.credential, self.randomness)
        holds.put(repository, found[which % len(found)], "", 0)

    def _start(self, name: str, work, steps: int) -> None:
        self.runs += 1
        actor = Actor(f"{self.runs} {name}", work)
        self.actors.append(actor)
        actor.step(steps)

    def _open(self, actor: Actor) -> Repository:
        storage = Stepped(self.storage, actor)
        return lifecycle.open_as_writer(storage, self.credential, self.randomness)

    # -- what happens to them -----------------------------------------------------------------

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, 100), steps=st.integers(1, 60))
    def go_on(self, which: int, steps: int) -> None:
        self.actors[which % len(self.actors)].step(steps)

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, 100))
    def kill(self, which: int) -> None:
        self.actors.pop(which % len(self.actors)).kill()

    @precondition(lambda self: self.actors)
    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        actor = self.actors.pop(which % len(self.actors))
        actor.finish()
        must_be_understood(actor)

    @rule(seconds=st.sampled_from([1, 3600, DAY, 5 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self.storage_time.seconds += seconds

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def no_actor_ends_in_a_bug(self) -> None:
        for actor in getattr(self, "actors", ()):
            must_be_understood(actor)

    @invariant()
    def every_listed_snapshot_reads_back(self) -> None:
        if not hasattr(self, "actors"):
            return
        repository = lifecycle.open_as_reader(self.storage, self.identity, self.randomness)
        found = catalog.load(repository).snapshots
        if not found:
            return
        reader = Reader(repository, repository.load_index(lambda _: None), self.identity)
        for snapshot in found:
            root = reader.root(catalog.manifest(repository, snapshot.name).root)
            back = {
                entry.path: b"".join(reader.blobs(reader.leaves(entry)))
                for entry in reader.entries(root)
            }
            assert back == self.trees[snapshot.tags[0]]

    def _must_end_well(self) -> None:
        """All come to their end; then a run takes away what nothing needs, and nothing else."""
        for actor in self.actors:
            actor.finish()
            must_be_understood(actor)
        self.every_listed_snapshot_reads_back()
        self.storage_time.seconds += 30 * DAY
        repository = lifecycle.open_as_writer(self.storage, self.credential, self.randomness)
        before = {s.name for s in catalog.load(repository).snapshots}
        for _ in range(4):
            self.storage_time.seconds += 10
            prune(repository, None, Effort(0, 1, 1 << 30), AtOnce(), Time(), Silent())
        self.every_listed_snapshot_reads_back()
        assert {s.name for s in catalog.load(repository).snapshots} >= before
        assert not list(self.storage.list(names.MARKS))
        self._must_be_tidy(repository)

    def _must_be_tidy(self, repository: Repository) -> None:
        """Without snapshots nothing but what belongs to the repository itself is left."""
        for held in holds.found(repository):
            self.storage.delete(names.HOLDS + held.digest)
        for info in list(self.storage.list(names.SNAPSHOTS)):
            self.storage.delete(info.name)
        self.storage_time.seconds += 30 * DAY
        for _ in range(2):
            prune(repository, None, Effort(0, 1, 1 << 30), AtOnce(), Time(), Silent())
            self.storage_time.seconds += 10
        about_marks = (names.MARKS, names.SINCE, names.SWEEPING)
        for folder in (names.PACKS, names.INDEX, names.REFS, names.TRASHED, *about_marks):
            assert not list(self.storage.list(folder)), folder


TestCollect = CollectMachine.TestCase
TestCollect.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
