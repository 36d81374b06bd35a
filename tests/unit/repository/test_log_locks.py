"""A snapshot that a log continues is worth as much as that log: both are locked as long."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "model"))

from stepped import AtOnce
from test_repository import Source

from drctl.clock import SystemClock
from drctl.codec import documents
from drctl.codec.documents import Refs
from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.logpiece import stream_id
from drctl.codec.recipients import new_identity
from drctl.events import Silent
from drctl.ops.backup import Around, Asset, backup
from drctl.ops.lock import keep_locked
from drctl.repository import catalog, lifecycle, names
from drctl.repository.locks import LockBook
from drctl.repository.log import LogWriter, session_of
from drctl.repository.repository import Repository
from drctl.repository.state import StateFile
from drctl.storage.base import ObjectInfo
from drctl.storage.memory import Memory
from drctl.storage.s3_lock import Lock, LockedS3

DAY_NS = 86_400 * 10**9
WEEKS = Lock("COMPLIANCE", 35 * 86_400)
IDENTITY = new_identity("someone", os.urandom)


class Later(SystemClock):
    """A clock that can be put forward."""

    ahead_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns


def back_up(repository: Repository, stream: str, clock: Later, state: Path) -> None:
    """A base whose restore goes on with the log from the file 2 on."""
    source = Source({b"base": b"of the database"})
    source.facts = {"log_stream": stream, "log_first": "2"}
    around = Around(repository, StateFile(str(state)), AtOnce(), clock, Silent())
    backup(Asset("db", "files", source, level=1), around)


def test_a_snapshot_keeps_locked_what_opens_its_log_however_old(s3_server, tmp_path) -> None:
    """A stream has one session for months. Its lock ran out while bases that need it were young."""
    clock = Later()
    storage = s3_server.locked(s3_server.new_bucket(locked=True), "x", WEEKS, clock)
    credential = WriterCredential(new_secrets(os.urandom), (IDENTITY.recipient(),))
    repository = lifecycle.create(storage, credential, os.urandom)
    writer = LogWriter(repository, stream_id(repository.secrets, "db", "7"))
    writer.append("1", 0, b"1", whole=True)
    writer.append("2", 0, b"2", whole=True)
    first, second = (piece.name for piece in writer.pieces())
    session = names.SESSIONS + session_of("", first)

    def locked_days(name: str) -> int:
        return (storage.retained_until_ns(name) - clock.now_ns()) // DAY_NS

    with ThreadPoolExecutor(4) as pool:
        book = LockBook(str(tmp_path / "book"), storage, clock, lambda call: call())
        clock.ahead_ns = 30 * DAY_NS
        assert locked_days(session) < 35
        repository.hold = lambda needed: book.hold(needed, pool) and None
        back_up(repository, writer.stream, clock, tmp_path / "state")
        assert (locked_days(session) >= 35, locked_days(second) >= 35) == (True, True)
        assert locked_days(first) < 35, "no snapshot needs it"

        clock.ahead_ns = 60 * DAY_NS
        repository.hold = None  # as a snapshot comes to a copy
        back_up(repository, writer.stream, clock, tmp_path / "state")
        claims_everything(repository, clock)
        keep_locked(repository, anew(tmp_path, storage, clock), clock.now_ns(), pool, Silent())
    assert (locked_days(session) >= 34, locked_days(second) >= 34) == (True, True)


class Listings:
    """Which folders of a storage were listed."""

    def __init__(self, storage: Memory) -> None:
        self.seen: list[str] = []
        self._list = storage.list
        storage.list = self  # type: ignore[method-assign]

    def __call__(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.seen.append(prefix)
        return self._list(prefix)


class Locking(Memory):
    """What it was told to lock."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.written = WEEKS, dict[str, int]()
        self.retained: set[str] = set()

    def retain(self, name: str, until_ns: int) -> None:
        self.head(name)
        self.retained.add(name)


def test_the_log_of_many_snapshots_is_listed_once_to_be_locked(tmp_path) -> None:
    """A copy that is locked for the first time holds all that came in months."""
    storage, clock = Locking(), Later()
    credential = WriterCredential(new_secrets(os.urandom), (IDENTITY.recipient(),))
    repository = lifecycle.create(storage, credential, os.urandom)
    writer = LogWriter(repository, stream_id(repository.secrets, "db", "7"))
    for file in "123":
        writer.append(file, 0, file.encode(), whole=True)
    for number in range(3):
        back_up(repository, writer.stream, clock, tmp_path / f"state-{number}")
    listings = Listings(storage)
    book = LockBook(str(tmp_path / "book"), storage, clock, lambda call: call())
    assert keep_locked(repository, book, clock.now_ns(), AtOnce(), Silent()) == 3
    assert sum(prefix.startswith(names.LOG) for prefix in listings.seen) == 1
    files = {name.split("/")[2][0] for name in storage.retained if name.startswith(names.LOG)}
    assert files == {"2", "3"}


def anew(tmp_path: Path, storage: LockedS3, clock: Later) -> LockBook:
    storage.written.clear()
    return LockBook(str(tmp_path / "anew"), storage, clock, lambda call: call())


def claims_everything(repository: Repository, clock: Later) -> None:
    """A thief's snapshot, which must not keep the others from being locked."""
    plain = documents.encode_struct(Refs({b"s" * 16: [0, 2**62, 2**62, 2**62]}))
    refs = repository.put_meta(names.REFS, documents.REFS_MAGIC, plain)
    newest = catalog.load(repository).snapshots[-1]
    manifest = catalog.manifest(repository, newest.name)
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    catalog.commit(repository, documents.Manifest(**{**fields, "refs": refs, "asset": "his"}))
