"""Two at a time at one repository, in every order: the first makes so many calls, the second so
many, then the first goes on to its end, then the second. Either may be killed where it is paused.

What tests/model/test_collect.py finds by chance in long stories, this finds for certain in short
ones. Days pass while somebody is paused, so that he is taken for dead."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stepped import Actor, AtOnce, Stepped, must_be_understood
from test_collect import DAY, Time
from test_repository import Source, Tree

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.events import Silent
from drctl.ops.backup import Around, Asset, backup
from drctl.ops.copying import bring_up_to_date
from drctl.ops.prune import Effort, prune
from drctl.ops.undelete import undelete
from drctl.repository import catalog, lifecycle, names, writer
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.repository.state import StateFile
from drctl.storage.memory import Memory

CHANCE = random.Random(5)
IDENTITY = new_identity("reader", CHANCE.randbytes)
CREDENTIAL = WriterCredential(new_secrets(CHANCE.randbytes), (IDENTITY.recipient(),))
BLOCKS = [CHANCE.randbytes(600) for _ in range(8)]
OLD: Tree = {b"%d" % i: BLOCKS[i] for i in range(6)}
NEW: Tree = {b"0": BLOCKS[0], b"7": BLOCKS[7]}
Work = Callable[["World", Repository], None]


@pytest.fixture(autouse=True, scope="module")
def small_packs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SEGMENT_TARGET_BYTES", 500)
        patch.setattr(writer, "PACK_TARGET_BYTES", 2_500)
        yield


class World:
    """A repository with a history: what only the first snapshot holds is about to go, the second
    is the newest, and a third was removed and marked before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = self
        self.time = Time()
        self.storage = Memory(self.time)
        self.randomness = random.Random(9).randbytes
        self.trees: dict[str, Tree] = {}
        lifecycle.create(self.storage, CREDENTIAL, self.randomness)

    def clone(self) -> "World":
        other = World.__new__(World)
        other.folder, other.time, other.trees = self.folder, Time(), dict(self.trees)
        other.time.seconds = self.time.seconds
        other.randomness = random.Random(11).randbytes
        other.before = self.before
        other.storage = Memory(other.time)
        other.storage._objects.update(self.storage._objects)
        return other

    def open(self, actor: Actor | None = None) -> Repository:
        storage = Stepped(self.storage, actor) if actor else self.storage
        return lifecycle.open_as_writer(storage, CREDENTIAL, self.randomness)

    def back_up(self, repository: Repository, asset: str, tree: Tree) -> None:
        tag = str(len(self.trees))
        self.trees[tag] = tree
        source = Source(tree)
        source.consistent_at_ns = self.time.now_ns()
        state = StateFile(str(self.folder / "none" / tag))
        around = Around(repository, state, AtOnce(), Time(DAY), Silent())
        backup(Asset(asset, "files", source, level=1, tags=(tag,)), around)

    def must_read_back(self) -> None:
        repository = lifecycle.open_as_reader(self.storage, IDENTITY, self.randomness)
        reader = Reader(repository, repository.load_index(lambda _: None), IDENTITY)
        found = catalog.load(repository)
        assert not found.damaged
        for snapshot in found.snapshots:
            root = reader.root(catalog.manifest(repository, snapshot.name).root)
            back = {
                entry.path: b"".join(reader.blobs(reader.leaves(entry)))
                for entry in reader.entries(root)
            }
            assert back == self.trees[snapshot.tags[0]], snapshot.tags


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, small_packs: None) -> World:
    made = World(tmp_path_factory.mktemp("world"))
    mixed = {**NEW, **{b"x%d" % i: CHANCE.randbytes(500) for i in range(4)}}
    for tree in (mixed, OLD, NEW):
        made.back_up(made.open(), "first", tree)
        made.time.seconds += DAY
    return made


def prunes(grace: int, patience: int, keep: int = 1, host: Time | None = None) -> Work:
    """`host`: the collector's own clock; None: the storage's."""

    def work(world: World, repository: Repository) -> None:
        effort = Effort(grace, patience, 1 << 30)
        prune(repository, Rule(last=keep), effort, AtOnce(), host or world.time, Silent())

    return work


def backs_up_old_data(world: World, repository: Repository) -> None:
    world.back_up(repository, "second", OLD)


def undeletes(world: World, repository: Repository) -> None:
    for digest in sorted(names.digest_of(i.name) for i in repository.storage.list(names.TRASHED)):
        undelete(repository, digest, Time())


def replicates(world: World, repository: Repository) -> None:
    """From what the repository was before anything was removed: a copy with a longer memory."""
    bring_up_to_date(
        world.before.storage,
        repository.storage,
        world.before.open,
        Rule(last=3),
        AtOnce(),
        Time(),
        world.randomness,
        Silent(),
    )


def marked(world: World) -> World:
    """As a first prune leaves it: two snapshots in the trash, a mark."""
    made = world.clone()
    made.before = world
    prunes(DAY, DAY)(made, made.open())
    return made


PAIRS: dict[str, tuple[bool, Work, Work]] = {
    "a backup; it marks and deletes at once, taking the backup for dead": (
        False, backs_up_old_data, prunes(0, 0)),
    "a backup; it marks and deletes at once, and waits for the backup": (
        False, backs_up_old_data, prunes(0, 30 * DAY)),
    "a backup; it deletes what was marked": (True, backs_up_old_data, prunes(0, 0)),
    "an undelete; it deletes, taking the undelete for dead": (True, undeletes, prunes(0, 0)),
    "an undelete; it deletes, and waits for the undelete": (True, undeletes, prunes(0, 30 * DAY)),
    "a replication; it deletes, taking the replication for dead": (
        True, replicates, prunes(0, 0)),
    "a replication; it deletes, and waits for the replication": (
        True, replicates, prunes(0, 30 * DAY)),
    "two that mark and delete": (False, prunes(0, 0), prunes(0, 0, keep=2)),
    "two that delete what was marked": (True, prunes(0, 0), prunes(0, 30 * DAY)),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("is_killed", [False, True], ids=["goes on", "is killed"])
def test_no_order_of_two_breaks_a_snapshot(world: World, pair: str, is_killed: bool) -> None:
    is_marked, one, other = PAIRS[pair]
    start = marked(world) if is_marked else world
    for first, second in ((one, other), (other, one)):
        length = calls(start, first)
        for paused_at in range(1, length, max(1, length // 9)):
            for calls_between in between(calls(start, second)):
                story(start.clone(), first, second, paused_at, calls_between, is_killed)


def between(length: int) -> Iterator[int]:
    """All calls, which is the likeliest story, and some stops on the way."""
    yield 10_000
    yield from range(2, length, max(1, length // 4))


def calls(start: World, work: Work) -> int:
    world = start.clone()
    count = 0
    actor = begin(world, work)
    while not actor.is_done:
        actor.step()
        count += 1
    return count


def begin(world: World, work: Work) -> Actor:
    return Actor("actor", lambda actor: work(world, world.open(actor)))


def story(
    world: World, first: Work, second: Work, paused_at: int, calls_between: int, is_killed: bool
) -> None:
    one, other = begin(world, first), begin(world, second)
    one.step(paused_at)
    world.time.seconds += 3 * DAY
    other.step(calls_between)
    world.must_read_back()
    if is_killed:
        one.kill()
    one.finish()
    world.must_read_back()
    other.finish()
    for actor in (one, other):
        must_be_understood(actor)
    world.must_read_back()
    world.time.seconds += 3 * DAY
    prunes(0, 0)(world, world.open())
    world.must_read_back()
