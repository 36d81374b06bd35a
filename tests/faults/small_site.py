"""A small repository in memory with two snapshots of a small tree, and what is done with it."""

import json
import os
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from drctl.clock import SystemClock
from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.engines import files
from drctl.engines.base import Source, Surroundings
from drctl.errors import DrctlError
from drctl.events import Reporter, Silent
from drctl.model import Entry, Problem, Snapshot
from drctl.ops.backup import Around, Asset, backup
from drctl.ops.restore import RestoreResult, restore
from drctl.ops.verify import Effort, verify
from drctl.repository import catalog, lifecycle
from drctl.repository.reader import Reader
from drctl.repository.state import StateFile
from drctl.storage.base import Buffer, ObjectInfo, Storage
from drctl.storage.memory import Memory

Tree = Mapping[str, bytes]
Objects = dict[str, bytes]

RANDOMNESS = random.Random(20260401).randbytes
IDENTITY, SECOND = new_identity("first", RANDOMNESS), new_identity("second", RANDOMNESS)


def new_credential() -> WriterCredential:
    """Of a repository of its own; its recipients are always the same two."""
    return WriterCredential(new_secrets(RANDOMNESS), (IDENTITY.recipient(), SECOND.recipient()))


# -- trees ----------------------------------------------------------------------------------------


def random_tree(seed: int, files_count: int, most_bytes: int, large_bytes: int = 0) -> Tree:
    """Names and content. The same seed gives the same tree."""
    chance = random.Random(seed)
    tree = {
        f"folder-{i % 3}/file-{i:02d}": chance.randbytes(chance.randrange(1, most_bytes))
        for i in range(files_count)
    }
    tree["text"] = b"it compresses well. " * 200
    if large_bytes:
        tree["large"] = chance.randbytes(large_bytes)
    return tree


def write_tree(top: Path, tree: Tree) -> None:
    for name, content in tree.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def read_tree(top: Path) -> dict[str, bytes]:
    """Every file below, content and all; empty where there is nothing."""
    return {str(p.relative_to(top)): p.read_bytes() for p in top.rglob("*") if p.is_file()}


# -- storages -------------------------------------------------------------------------------------


def objects_of(storage: Storage) -> Objects:
    return {info.name: storage.get(info.name) for info in storage.list()}


def memory_of(objects: Objects) -> Memory:
    made = Memory()
    for name, data in objects.items():
        made.put(name, data)
    return made


class Recorded:
    """Remembers, in order, what was asked of a storage: ("get", name)."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []

    @property
    def where(self) -> str:
        return self._inner.where

    def _note(self, method: str, name: str) -> None:
        with self._lock:
            self.calls.append((method, name))
        self.noted(method, name)

    def noted(self, method: str, name: str) -> None:
        """For those who want to do something at a call."""

    def put(self, name: str, data: Buffer, *, replace: bool = False) -> None:
        self._note("put", name)
        self._inner.put(name, data, replace=replace)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._note("get", name)
        return self._inner.get(name, offset, length)

    def head(self, name: str) -> ObjectInfo:
        self._note("head", name)
        return self._inner.head(name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._note("list", prefix)
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._note("delete", name)
        self._inner.delete(name)

    def close(self) -> None:
        self._inner.close()


class Waiting(SystemClock):
    """A clock whose sleeps take no time."""

    def sleep(self, seconds: float) -> None:
        del seconds


# -- what is done with a repository ---------------------------------------------------------------


@dataclass
class Site:
    """Keys, a directory to protect, and a directory for the state of the host that does it."""

    top: Path
    pool: Executor
    credential: WriterCredential = field(default_factory=new_credential)

    @property
    def live(self) -> Path:
        return self.top / "live"

    def surroundings(self) -> Surroundings:
        return Surroundings(SystemClock(), Silent(), str(self.top), str(self.top / "scratch"))

    def new_repository(self) -> Memory:
        made = Memory()
        lifecycle.create(made, self.credential, os.urandom)
        return made

    def source(self) -> files.Source:
        settings = files.Settings(paths=(str(self.live),))
        return files.Source(settings, "tree", self.surroundings())

    def backup(
        self,
        storage: Storage,
        state: str = "state",
        report: Reporter | None = None,
        source: Source | None = None,
    ) -> Snapshot:
        """One run, as the command does it."""
        repository = lifecycle.open_as_writer(storage, self.credential, os.urandom)
        asset = Asset("tree", "files", source or self.source())
        remembered = StateFile(str(self.top / state))
        around = Around(repository, remembered, self.pool, SystemClock(), report or Silent())
        return backup(asset, around).snapshot

    def restore(
        self,
        storage: Storage,
        name: str,
        target: object,
        wanted: Sequence[bytes] = (),
        aside: str | None = None,
    ) -> RestoreResult:
        """One snapshot, with nothing but an identity, as the command does it."""
        repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
        index = repository.load_index(lambda _: None, self.pool)
        found = catalog.load(repository, self.pool)
        snapshot = next((s for s in found.snapshots if s.name == name), None)
        if snapshot is None:
            raise MissingSnapshot("; ".join(found.damaged) or f"snapshots/{name} is not listed")
        reader = Reader(repository, index, IDENTITY, aside)
        return restore(
            snapshot, reader, target, self.pool, SystemClock(), Silent(), wanted  # type: ignore[arg-type]
        )  # fmt: skip

    def restore_to(self, storage: Storage, name: str, to: Path) -> RestoreResult:
        return self.restore(
            storage, name, files.ENGINE.target(None, str(to), {}, self.surroundings())
        )

    def restored(self, storage: Storage, name: str) -> dict[str, bytes]:
        """The files of a snapshot; fails unless all of it came back without a word."""
        kept = Kept()
        done = self.restore(storage, name, kept)
        assert (done.problems, done.damaged) == ((), 0)
        return kept.files

    def entries(self, storage: Storage, name: str) -> Iterator[Entry]:
        """The entries of a snapshot."""
        repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
        reader = Reader(repository, repository.load_index(lambda _: None), IDENTITY)
        return reader.entries(reader.root(catalog.manifest(repository, name).root))

    def verified(self, storage: Storage) -> list[str]:
        """Everything that a verification with all keys and all data finds wrong."""
        repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
        effort = Effort(100, 0)
        return verify(storage, repository, IDENTITY, effort, self.pool, Silent()).wrong

    def snapshots(self, storage: Storage) -> list[Snapshot]:
        repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
        return list(catalog.load(repository).snapshots)


class MissingSnapshot(DrctlError):
    """The snapshot asked for does not read, or is not listed."""


class Kept:
    """A target that keeps what it is given in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def prepare(self) -> None:
        """There is nothing here that could be destroyed."""

    def put_small(self, entry: Entry, content: bytes | memoryview) -> Problem | None:
        self.files[os.fsdecode(entry.path)] = bytes(content)
        return None

    def put_plain(self, entry: Entry) -> Problem | None:
        del entry
        return None

    def open_large(self, entry: Entry) -> "KeptWriting":
        return KeptWriting(self, os.fsdecode(entry.path))

    def finish(self) -> tuple[Problem, ...]:
        return ()


@dataclass
class KeptWriting:
    """One large file."""

    kept: Kept
    path: str
    pieces: list[bytes] = field(default_factory=list)

    def write(self, piece: bytes | memoryview) -> None:
        self.pieces.append(bytes(piece))

    def close(self) -> Problem | None:
        self.kept.files[self.path] = b"".join(self.pieces)
        return None

    def abort(self) -> None:
        self.pieces.clear()


@dataclass(frozen=True, repr=False)
class History:
    """A repository with two snapshots, and the tree of each by its snapshot's name."""

    site: Site
    objects: Objects
    trees: Mapping[str, Tree]

    @property
    def newest(self) -> str:
        return list(self.trees)[-1]

    def storage(self) -> Memory:
        """The repository as it was, to do with as one likes."""
        return memory_of(self.objects)

    def must_be_whole(self, storage: Storage) -> None:
        """Everything committed is there, proves whole, and comes back byte for byte."""
        assert self.site.verified(storage) == []
        assert {s.name for s in self.site.snapshots(storage)} >= set(self.trees)
        for name, tree in self.trees.items():
            assert self.site.restored(storage, name) == tree


def make_history(site: Site, first: Tree, second: Tree) -> History:
    storage = site.new_repository()
    trees = {}
    for tree in (first, second):
        write_tree(site.live, tree)
        trees[site.backup(storage).name] = tree
    history = History(site, objects_of(storage), trees)
    history.must_be_whole(storage)
    return history


def short(objects: Objects) -> str:
    """For a message: what is there."""
    return json.dumps({name[:20]: len(data) for name, data in objects.items()})
