"""A repository beside a dictionary: whatever is done to it, every committed snapshot reads back."""

import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drctl.clock import SystemClock
from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.engines.base import PlainItem
from drctl.errors import DrctlError, StorageError
from drctl.model import Entry, Kind, sort_key
from drctl.ops.backup import Around, Asset, backup
from drctl.ops.replicate import replicate
from drctl.ops.verify import Effort, rebuild_index, verify
from drctl.repository import catalog, lifecycle, names
from drctl.repository.reader import Reader
from drctl.repository.state import StateFile
from drctl.storage.faulty import Fault, Faulty
from drctl.storage.memory import Memory

Tree = dict[bytes, bytes]
SIZES = st.sampled_from([0, 1, 100, 5_000, 300_000, 524_288, 524_289, 1_500_000])
NAMES = st.sampled_from([b"a", b"a b", b"a/b", b"a/c", b"b", b"b/x/y", b"\xff", b"z" * 200])
FAULTS = st.sampled_from([Fault.FAIL, Fault.FAIL_ONCE, Fault.LOSE_ANSWER])


class Silent:
    """Nobody listens to these runs."""

    def emit(self, event: object) -> None:
        """Nothing is shown."""


class Bytes:
    """Content that is known."""

    block_bytes = 0

    def __init__(self, entry: Entry, data: bytes) -> None:
        self.entry = entry
        self.data = data
        self.size_hint = len(data)

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        return entry, self.data

    def stream(self, entry: Entry) -> "Bytes":
        return self

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), 100_000):
            yield self.data[at : at + 100_000]


class Source:
    """A tree that is a dictionary; see engines.base.Source and Capture."""

    consistent_at_ns = 1

    def __init__(self, tree: Tree) -> None:
        self.facts: dict[str, str] = {}
        self.private_facts: dict[str, str] = {}
        self.tree = tree

    @contextmanager
    def open(self) -> Iterator["Source"]:
        yield self

    def items(self) -> Iterator[PlainItem]:
        for path in sorted(self.tree, key=sort_key):
            data = self.tree[path]
            entry = Entry(path, int(Kind.FILE), 0o644, size=len(data))
            # As good as a file system's signature: what changed has another one.
            signature = b"%d" % hash((path, data))
            yield PlainItem(entry, Bytes(entry, data) if data else None, signature)


class Meanwhile:
    """A storage with which something else happens before call `at`: another host is at work."""

    def __init__(self, inner: Memory, at: int, deed: Callable[[], None]) -> None:
        self.inner = inner
        self.left = at
        self.deed = deed

    def __getattr__(self, name: str) -> object:
        self.left -= 1
        if self.left == 0:
            self.deed()
        return getattr(self.inner, name)


class RepositoryMachine(RuleBasedStateMachine):
    """`committed`: what each snapshot held; `copied`: those that the copy must hold."""

    @initialize()
    def make(self) -> None:
        randomness = random.Random(7).randbytes
        self.folder = TemporaryDirectory()
        self.pool = ThreadPoolExecutor(2)
        self.randomness = randomness
        self.identity = new_identity("reader", randomness)
        self.credential = WriterCredential(new_secrets(randomness), (self.identity.recipient(),))
        self.storage, self.copy = Memory(), Memory()
        lifecycle.create(self.storage, self.credential, randomness)
        self.live: Tree = {}
        self.committed: dict[str, Tree] = {}
        self.copied: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            self.pool.shutdown()
            self.folder.cleanup()

    # -- what happens to the live data --------------------------------------------------------

    @rule(path=NAMES, size=SIZES, seed=st.integers(0, 5))
    def write(self, path: bytes, size: int, seed: int) -> None:
        self.live[path] = random.Random(seed).randbytes(size)

    @rule(path=NAMES)
    def remove(self, path: bytes) -> None:
        self.live.pop(path, None)

    @rule(path=NAMES, at=st.integers(0, 1 << 20))
    def insert(self, path: bytes, at: int) -> None:
        data = self.live.get(path, b"")
        self.live[path] = data[:at] + b"inserted" + data[at:]

    # -- what drctl does ----------------------------------------------------------------------

    @rule()
    def back_up(self) -> None:
        self._back_up(self.storage)

    @rule(fault=FAULTS, at=st.integers(0, 12))
    def back_up_while_the_storage_fails(self, fault: Fault, at: int) -> None:
        try:
            self._back_up(Faulty(self.storage, fault, at))
        except StorageError:
            self._note_what_was_committed_all_the_same()

    @rule(at=st.integers(1, 12), path=NAMES, seed=st.integers(6, 9))
    def back_up_while_another_host_does(self, at: int, path: bytes, seed: int) -> None:
        def other() -> None:
            self.live[path] = random.Random(seed).randbytes(700)
            self._back_up(self.storage, "other.state")

        before = dict(self.live)
        self._back_up(Meanwhile(self.storage, at, other), tree=before)

    def _back_up(
        self, storage: object, state_name: str = "asset.state", tree: Tree | None = None
    ) -> None:
        tree = dict(self.live) if tree is None else tree
        repository = lifecycle.open_as_writer(storage, self.credential, self.randomness)
        state = StateFile(str(Path(self.folder.name) / state_name))
        around = Around(repository, state, self.pool, SystemClock(), Silent())
        made = backup(Asset("asset", "files", Source(tree), level=1), around)
        self.committed[made.snapshot.name] = tree

    def _note_what_was_committed_all_the_same(self) -> None:
        """The answer to the very last put may be what was lost."""
        for info in self.storage.list(names.SNAPSHOTS):
            self.committed.setdefault(names.digest_of(info.name), dict(self.live))

    @rule()
    def replicate(self) -> None:
        replicate(self.storage, self.copy, self.pool, Silent())
        self.copied = set(self.committed)

    @rule(fault=FAULTS, at=st.integers(0, 20))
    def replicate_while_the_copy_fails(self, fault: Fault, at: int) -> None:
        try:
            replicate(self.storage, Faulty(self.copy, fault, at), self.pool, Silent())
        except DrctlError:
            return
        self.copied = set(self.committed)

    @precondition(lambda self: self.copied)
    @rule(which=st.integers(0, 1000), kept=st.sampled_from([None, 0, 1, 50]))
    def lose_or_cut_an_object_of_the_copy_and_replicate(self, which: int, kept: int | None) -> None:
        names_there = [info.name for info in self.copy.list()]
        name = names_there[which % len(names_there)]
        data = self.copy.get(name)
        self.copy.delete(name)
        if kept is not None:
            self.copy.put(name, data[:kept])
        self.replicate()

    # -- what goes wrong ----------------------------------------------------------------------

    @rule()
    def lose_the_state(self) -> None:
        Path(self.folder.name, "asset.state").unlink(missing_ok=True)

    @rule(cut=st.integers(0, 4000))
    def damage_the_state(self, cut: int) -> None:
        path = Path(self.folder.name, "asset.state")
        if path.exists():
            path.write_bytes(path.read_bytes()[:cut])

    @precondition(lambda self: any(self.storage.list(names.INDEX)))
    @rule(which=st.integers(0, 100))
    def lose_an_index(self, which: int) -> None:
        found = [info.name for info in self.storage.list(names.INDEX)]
        self.storage.delete(found[which % len(found)])

    @rule()
    def rebuild_the_index(self) -> None:
        opened = lifecycle.open_as_writer(self.storage, self.credential, self.randomness)
        rebuild_index(opened, Silent())

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def every_snapshot_reads_back(self) -> None:
        if hasattr(self, "committed"):
            self._reads_back(self.storage, self.committed.keys())
            self._reads_back(self.copy, self.copied)

    def _reads_back(self, storage: Memory, due: Iterable[str]) -> None:
        if not any(storage.list(names.SNAPSHOTS)):
            return
        repository = lifecycle.open_as_reader(storage, self.identity, self.randomness)
        reader = Reader(repository, repository.load_index(lambda _: None), self.identity)
        for name in due:
            root = reader.root(catalog.manifest(repository, name).root)
            found = {
                entry.path: b"".join(reader.blobs(reader.leaves(entry)))
                for entry in reader.entries(root)
            }
            assert found == self.committed[name]

    @precondition(lambda self: self.committed)
    @rule()
    def it_verifies_whole(self) -> None:
        opened = lifecycle.open_as_reader(self.storage, self.identity, self.randomness)
        rebuild_index(opened, Silent())
        done = verify(self.storage, opened, self.identity, Effort(100, 1), self.pool, Silent())
        assert done.wrong == []
        assert done.snapshots == len(self.committed)


TestRepository = RepositoryMachine.TestCase
TestRepository.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
