"""Locked and versioned buckets, on a real server: what is locked stays, what was overwritten or
deleted reads as of before, and a lock that is not due costs no request."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drctl.clock import SystemClock, system_randomness
from drctl.errors import NotFound, StorageError
from drctl.repository.locks import LockBook
from drctl.storage.attack import ATTACKS, attack
from drctl.storage.s3_lock import Lock, LockedS3

SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
WEEKS = Lock("COMPLIANCE", 35 * 86_400)
MINUTE = Lock("COMPLIANCE", 60)


class Later(SystemClock):
    """A clock that can be put forward."""

    ahead_ns = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ns


@pytest.fixture
def bucket(s3_server) -> str:
    return s3_server.new_bucket(locked=True)


def wait_a_second() -> None:
    """The server's clock tells seconds."""
    SystemClock().sleep(1.1)


def test_what_is_put_is_locked_for_the_period_and_never_for_less(s3_server, bucket) -> None:
    storage = s3_server.locked(bucket, "x", MINUTE, SystemClock())
    before_ns = SystemClock().now_ns()
    storage.put("a", b"1")
    assert storage.retained_until_ns("a") == storage.written["a"] >= before_ns + 60 * SECOND_NS
    storage.retain("a", before_ns + 500 * SECOND_NS)
    longer_ns = storage.retained_until_ns("a")
    assert longer_ns >= before_ns + 499 * SECOND_NS
    storage.retain("a", before_ns + 100 * SECOND_NS)
    assert storage.retained_until_ns("a") == longer_ns
    with pytest.raises(NotFound):
        storage.retain("missing", longer_ns)


def test_what_passes_is_never_locked(s3_server, bucket) -> None:
    rest = s3_server.rest()
    storage = LockedS3(bucket, "x", MINUTE, SystemClock(), {}, ("runs/", "trash/"), **rest)
    storage.put("runs/alive/1", b"1")
    storage.put("runs/alive/1", b"2", replace=True)
    assert storage.retained_until_ns("runs/alive/1") == 0
    assert storage.written == {}


def test_a_bucket_without_lock_is_told_with_what_to_do(s3_server) -> None:
    storage = s3_server.locked(s3_server.new_bucket(), "", MINUTE, SystemClock())
    with pytest.raises(StorageError) as told:
        storage.put("a", b"1")
    assert "takes no lock" in told.value.what
    assert "when a bucket is made" in told.value.hint
    assert "ObjectLockConfigurationNotFound" in storage.lock_trouble()


def test_the_past_is_read_whatever_came_later(s3_server, bucket) -> None:
    storage = s3_server.locked(bucket, "x", MINUTE, SystemClock())
    for name in ("kept", "changed", "deleted", "deleted/below"):
        storage.put(name, b"before " + name.encode())
    at_ns = storage.head("deleted/below").modified_ns
    wait_a_second()
    storage.put("changed", b"after", replace=True)
    storage.delete("deleted")
    storage.put("new", b"after")
    s3_server.storage(bucket, "other").put("elsewhere", b"not ours")
    past = s3_server.as_of(bucket, "x", at_ns)
    names = ["changed", "deleted", "deleted/below", "kept"]
    assert sorted(info.name for info in past.list()) == names
    assert [info.name for info in past.list("deleted/")] == ["deleted/below"]
    for name in names:
        assert past.get(name) == b"before " + name.encode()
        assert past.get(name, 7) == name.encode()
        assert past.head(name).size_bytes == 7 + len(name)
    with pytest.raises(NotFound):
        past.get("new")
    earlier = s3_server.as_of(bucket, "x", at_ns - 60 * SECOND_NS)
    assert list(earlier.list()) == []
    now = s3_server.as_of(bucket, "x", at_ns + 60 * SECOND_NS)
    assert sorted(info.name for info in now.list()) == ["changed", "deleted/below", "kept", "new"]


def test_what_was_deleted_before_is_not_seen_and_what_came_back_is(s3_server, bucket) -> None:
    storage = s3_server.storage(bucket, "x")
    for name in ("gone", "back"):
        storage.put(name, b"first")
        wait_a_second()
        storage.delete(name)
    wait_a_second()
    storage.put("back", b"second")
    past = s3_server.as_of(bucket, "x", storage.head("back").modified_ns)
    assert [(i.name, past.get(i.name)) for i in past.list()] == [("back", b"second")]


def test_nothing_is_written_to_the_past(s3_server, bucket) -> None:
    past = s3_server.as_of(bucket, "x", SystemClock().now_ns())
    for write in (lambda: past.put("a", b"1"), lambda: past.delete("a")):
        with pytest.raises(StorageError, match="past"):
            write()


# -- the book -------------------------------------------------------------------------------------


@dataclass
class Counting:
    """Counts the requests that locking costs."""

    inner: LockedS3
    asked: list[str] = field(default_factory=list)

    @property
    def lock(self) -> Lock:
        return self.inner.lock

    @property
    def written(self) -> dict[str, int]:
        return self.inner.written

    def retain(self, name: str, until_ns: int) -> None:
        self.asked.append(name)
        self.inner.retain(name, until_ns)


@dataclass
class Desk:
    """A book of one bucket that can be opened again and again, as each run does."""

    path: Path
    storage: Counting
    clock: Later

    def hold(self, *names: str) -> list[str]:
        """Gives what was asked of the server."""
        self.storage.asked.clear()
        book = LockBook(str(self.path), self.storage, self.clock, lambda call: call())
        with ThreadPoolExecutor(4) as pool:
            self.lost = book.hold(names, pool)
        return sorted(self.storage.asked)


@pytest.fixture
def desk(s3_server, bucket, tmp_path: Path) -> Desk:
    clock = Later()
    storage = Counting(s3_server.locked(bucket, "x", WEEKS, clock))
    for name in ("a", "b", "c"):
        storage.inner.put(name, b"1")
    return Desk(tmp_path / "state" / "book", storage, clock)


def test_a_lock_that_is_not_due_costs_no_request(desk: Desk) -> None:
    assert desk.hold("a", "b") == []
    desk.storage.written.clear()  # another run, which wrote nothing
    for day in range(1, 7):
        desk.clock.ahead_ns = day * DAY_NS
        assert desk.hold("a", "b") == []
    desk.clock.ahead_ns = 8 * DAY_NS
    assert desk.hold("a", "b") == ["a", "b"]
    assert desk.hold("a", "b") == []
    wanted_ns = desk.clock.now_ns() + 35 * DAY_NS
    assert all(desk.storage.inner.retained_until_ns(n) >= wanted_ns for n in ("a", "b"))
    assert desk.storage.inner.retained_until_ns("c") < wanted_ns


def test_without_its_book_a_host_locks_once_more(desk: Desk) -> None:
    desk.hold("a")
    desk.storage.written.clear()
    for damage in ("", "{}", '{"mode": "COMPLIANCE", "until": 7, "done": {}}', "[]"):
        desk.path.write_text(damage)
        assert desk.hold("a") == ["a"]
        assert desk.hold("a") == []


def test_a_book_of_another_mode_is_not_believed(desk: Desk) -> None:
    desk.hold("a")
    desk.storage.written.clear()
    document = json.loads(desk.path.read_text())
    desk.path.write_text(json.dumps({**document, "mode": "GOVERNANCE"}))
    assert desk.hold("a") == ["a"]


def test_what_is_lost_is_told_and_keeps_nothing_else_from_being_locked(desk: Desk) -> None:
    desk.storage.written.clear()
    assert desk.hold("a", "lost", "b") == ["a", "b", "lost"]
    assert desk.lost == ["lost"]


# -- attacks --------------------------------------------------------------------------------------


def attacked(s3_server, bucket: str, mode: str) -> dict[str, str]:
    """What was not held off, and why."""
    storage = s3_server.locked(bucket, "x", Lock(mode, 86_400), SystemClock())
    found = attack(
        storage,
        lambda at_ns: s3_server.as_of(bucket, "x", at_ns),
        SystemClock(),
        system_randomness,
    )
    assert len(found) == len(ATTACKS)
    return {result.name: result.detail for result in found if not result.ok}


def test_a_compliance_lock_holds_every_attack_off(s3_server, bucket) -> None:
    assert attacked(s3_server, bucket, "COMPLIANCE") == {}


def test_credentials_that_may_bypass_governance_are_found_out(s3_server, bucket) -> None:
    broken = attacked(s3_server, bucket, "GOVERNANCE")
    told = broken["no right of these credentials deletes a locked version"]
    assert "bypass governance" in told
