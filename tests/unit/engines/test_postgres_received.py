"""WAL as it comes in, beside what another attempt stored of it."""

import os
from threading import Event

import pytest

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.engines.postgres_client import Cluster
from drctl.engines.postgres_received import Received, store_history
from drctl.errors import SourceError
from drctl.model import Snapshot
from drctl.ops.logway import along
from drctl.repository import lifecycle
from drctl.repository.log import LogWriter
from drctl.storage.memory import Memory

EACH = 1 << 20
AT = 5 * EACH
SERVER = Cluster(150000, "7", 1, EACH, 8192, checksums=True, in_recovery=False)


@pytest.fixture
def storage() -> Memory:
    return Memory()


@pytest.fixture
def log(storage: Memory) -> LogWriter:
    identity = new_identity("someone", os.urandom)
    credential = WriterCredential(new_secrets(os.urandom), (identity.recipient(),))
    return LogWriter(lifecycle.create(storage, credential, os.urandom), bytes(8))


def attempt(log: LogWriter, data: bytes, *ends: int) -> Received:
    """What comes of the server after a connection was made; it is stored up to each end."""
    received = Received("orders", SERVER, log)
    received.resume(1, AT)
    begin = 0
    for end in ends:
        received.take(AT + begin, memoryview(data)[begin:end])
        received.store()
        begin = end
    return received


def stored(log: LogWriter) -> list[tuple[int, int]]:
    return [(piece.offset, piece.size) for piece in log.pieces()]


def test_what_is_stored_of_a_segment_is_not_stored_again(log) -> None:
    data = os.urandom(EACH)
    assert attempt(log, data, 100, 300).flushed == AT + 300
    again = attempt(log, data, 50, 200)
    assert again.flushed == AT + 100
    assert stored(log) == [(0, 100), (100, 200)]
    again.take(AT + 200, memoryview(data)[200:400])
    again.store()
    assert again.flushed == AT + 400
    assert stored(log) == [(0, 100), (100, 200), (300, 100)]
    again.take(AT + 400, memoryview(data)[400:])
    assert again.flushed == AT + EACH
    with again:
        again.tidy()
    assert stored(log) == [(0, EACH)]


def test_a_server_that_was_set_back_adds_nothing_to_what_it_had_stored(log) -> None:
    """Mixed with that, its log would end a restore where the two part."""
    data = os.urandom(250)
    attempt(log, data, 100, 200)
    other = data[:150] + os.urandom(100)
    with pytest.raises(SourceError, match="another content"):
        attempt(log, other, 150, 250)
    assert stored(log) == [(0, 100), (100, 100)]


def test_a_part_that_is_damaged_does_not_end_the_stream(log, storage) -> None:
    data = os.urandom(EACH)
    attempt(log, data, 100, 200)
    first, _ = log.pieces()
    storage.delete(first.name)
    storage.put(first.name, bytes(200))
    again = attempt(log, data, 250)
    assert again.flushed == AT + 250
    assert (0, 250) in stored(log)
    again.take(AT + 250, memoryview(data)[250:])
    with again:
        again.tidy()
    assert stored(log) == [(0, EACH)]


def test_a_server_hears_of_us_while_thousands_of_pieces_are_compared(log) -> None:
    data = os.urandom(300)
    attempt(log, data, *range(1, 301))
    heard: list[int] = []
    with Received("orders", SERVER, log, lambda: heard.append(1)) as again:
        again.resume(1, AT)
        again.take(AT, memoryview(data))
        again.store()
        assert again.flushed == AT + 300
    assert len(heard) > 1
    assert len(stored(log)) == 300


class Slow(Memory):
    """It deletes nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_delete = Event()

    def delete(self, name: str) -> None:
        assert self.may_delete.wait(60)
        super().delete(name)


@pytest.mark.parametrize("storage", [Slow()])
def test_a_commit_does_not_wait_until_the_parts_of_a_whole_segment_are_deleted(
    log, storage
) -> None:
    data = os.urandom(EACH + 10)
    with attempt(log, data, 100, 200, EACH) as received:
        received.tidy()
        received.take(AT + EACH, memoryview(data)[EACH:])
        received.store()
        assert received.flushed == AT + EACH + 10
        storage.may_delete.set()
    assert stored(log) == [(0, EACH), (0, 10)]


def test_parts_that_a_killed_stream_left_go_when_the_next_one_begins(log) -> None:
    data = os.urandom(EACH + 100)
    attempt(log, data, 100, 200, EACH, EACH + 50, EACH + 100)
    assert len(log.pieces()) == 5
    with Received("orders", SERVER, log) as again:
        again.find_left(log.pieces())
        again.tidy()
    assert stored(log) == [(0, EACH), (0, 50), (50, 50)]


def test_what_an_old_primary_wrote_behind_a_promotion_hides_no_gap(log) -> None:
    def name(number: int, timeline: int) -> str:
        return SERVER.segment(number * EACH, timeline)

    def gap() -> str:
        facts = {"log_first": name(5, 1), "log_reached": name(5, 1), "segment_bytes": str(EACH)}
        base = Snapshot("a" * 64, "orders", "postgres", "h", 0, 0, 0, 1, 1, 1, 0, facts=facts)
        return along(base, log.pieces()).gap

    log.append(name(5, 1), 0, bytes(100))
    store_history(log, "00000002.history", b"1\t0/780000\tno recovery target\n", name(7, 2))
    assert not gap(), "the stream is behind, and comes there"
    for number in range(5, 10):
        log.append(name(number, 1), 0, bytes(EACH), whole=True)
    assert not gap()
    log.append(name(9, 2), 0, bytes(EACH), whole=True)
    assert gap() == f"what comes before {name(9, 2)} is missing"
    for number in (7, 8):
        log.append(name(number, 2), 0, bytes(EACH), whole=True)
        log.clean(name(number, 2))
    assert not gap()
    assert [piece for piece in log.pieces() if not piece.size] == []
