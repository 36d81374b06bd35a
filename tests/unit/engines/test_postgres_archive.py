"""What archive_command hands out is stored only where it is what its name says."""

import os
import struct
from threading import Barrier

import pytest

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.engines.postgres_archive import _check_segment, fetch, push
from drctl.errors import IntegrityError, SourceError
from drctl.repository import lifecycle
from drctl.repository.log import LogReader, LogWriter
from drctl.storage.memory import Memory

PAGE, SIZE = 8192, 1 << 20
OWN = 7


def segment(number: int) -> bytearray:
    """All pages with their headers."""
    made = bytearray(SIZE)
    for offset in range(0, SIZE, PAGE):
        struct.pack_into("<HHIQ", made, offset, 0xD110, 0, 1, number * SIZE + offset)
    struct.pack_into("<H", made, 2, 2)
    struct.pack_into("<QII", made, 24, OWN, SIZE, PAGE)
    return made


def test_a_segment_that_was_renamed_for_later_is_no_whole_one() -> None:
    """Its name is the future's, its content the past's; while it is written, a part of it."""
    kept, now = segment(3), segment(9)
    name = "000000010000000000000009"
    _check_segment(name, bytes(now), str(OWN), is_complete=False)
    closed_early = now[: 5 * PAGE] + bytes(SIZE - 5 * PAGE)
    _check_segment(name, bytes(closed_early), str(OWN), is_complete=False)
    written_over = now[: 5 * PAGE] + kept[5 * PAGE :]
    for wrong in (kept, written_over):
        with pytest.raises(SourceError, match="holds WAL of before"):
            _check_segment(name, bytes(wrong), str(OWN), is_complete=False)


def test_old_pages_behind_the_end_of_a_segment_keep_nobody_from_archiving_it(tmp_path) -> None:
    """The server crashed just after it had closed it early, and hands it out ever since."""
    kept, now = segment(3), segment(9)
    name = "000000010000000000000009"
    wal = tmp_path / "pg_wal"
    (wal / "archive_status").mkdir(parents=True)
    (tmp_path / "global").mkdir()
    (tmp_path / "global/pg_control").write_bytes(struct.pack("<Q", OWN))
    (wal / name).write_bytes(now[: 5 * PAGE] + kept[5 * PAGE :])
    log = new_log()
    with pytest.raises(SourceError, match="holds WAL of before"):
        push(str(wal / name), str(tmp_path), lambda _: log)
    (wal / "archive_status" / f"{name}.ready").touch()
    assert push(str(wal / name), str(tmp_path), lambda _: log)
    assert log.is_whole(name)
    (wal / name).write_bytes(kept)
    with pytest.raises(SourceError, match="holds WAL of before"):
        push(str(wal / name), str(tmp_path), lambda _: log)


class Together(Memory):
    """It gives nothing until it is asked by eight at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = Barrier(8)
        self.waits = False

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if self.waits:
            self.asked.wait(60)
        return super().get(name, offset, length)


def test_the_parts_of_a_segment_are_compared_several_at_a_time(tmp_path) -> None:
    now, name, storage = segment(9), "000000010000000000000009", Together()
    (tmp_path / "global").mkdir()
    (tmp_path / "global/pg_control").write_bytes(struct.pack("<Q", OWN))
    (tmp_path / name).write_bytes(now)
    log = new_log(storage)
    for at in range(16):
        log.append(name, at * 100, bytes(now[at * 100 : at * 100 + 100]))
    storage.waits = True
    assert push(str(tmp_path / name), str(tmp_path), lambda _: log)
    assert [piece.size for piece in log.pieces()] == [SIZE]


def test_a_segment_that_cannot_be_read_to_its_end_leaves_nothing_in_pg_wal(tmp_path) -> None:
    identity, storage = new_identity("someone", os.urandom), Memory()
    credential = WriterCredential(new_secrets(os.urandom), (identity.recipient(),))
    log = LogWriter(lifecycle.create(storage, credential, os.urandom), bytes(8))
    now, name, wal = segment(9), "000000010000000000000009", tmp_path / "pg_wal"
    wal.mkdir()
    (wal / "000000010000000000000008").write_bytes(segment(8))
    log.append(name, 0, bytes(now[:PAGE]))
    log.append(name, PAGE, bytes(now[PAGE:]), whole=True)
    storage.put(log.pieces()[-1].name, b"damaged", replace=True)
    reader = LogReader(
        lifecycle.open_as_reader(storage, identity, os.urandom), identity, log.stream
    )
    with pytest.raises(IntegrityError, match="is not what was written"):
        fetch(name, str(wal / "RECOVERYXLOG"), reader, str(tmp_path))
    assert os.listdir(wal) == ["000000010000000000000008"]


def new_log(storage: Memory | None = None) -> LogWriter:
    identity = new_identity("someone", os.urandom)
    credential = WriterCredential(new_secrets(os.urandom), (identity.recipient(),))
    return LogWriter(lifecycle.create(storage or Memory(), credential, os.urandom), bytes(8))


@pytest.mark.parametrize("page", [0, 1, 5000])
def test_pages_of_no_size_are_no_wal(page) -> None:
    made = segment(9)
    struct.pack_into("<I", made, 36, page)
    with pytest.raises(SourceError, match="is no WAL of this cluster"):
        _check_segment("000000010000000000000009", bytes(made), str(OWN), is_complete=False)
