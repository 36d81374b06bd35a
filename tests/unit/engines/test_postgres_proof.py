"""Pages are read and proven by a process of its own, which is the real one here."""

import os
import signal
import struct
from pathlib import Path

import pytest

from drctl.engines.postgres_proof import ASKED_MOST, PageReader, Window, page_reader
from drctl.engines.postgres_prover import PLACE_BYTES
from drctl.engines.postgres_reading import Opened, Proven
from drctl.errors import SourceError

PAGE = 8192
NOW = 1 << 40  # an LSN after everything that is written here
_OFFSETS = (
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
)  # fmt: skip


def checksum(page: bytes, block: int) -> int:
    """As checksum_impl.h says it, a number at a time."""
    sums = list(_OFFSETS)
    words = struct.unpack("<2048I", page)
    for at, word in enumerate((*words, *[0] * 64)):
        mixed = sums[at % 32] ^ word
        sums[at % 32] = (mixed * 16777619 & 0xFFFFFFFF) ^ (mixed >> 17)
    whole = 0
    for one in sums:
        whole ^= one
    return (whole ^ block) % 65535 + 1


def page_of(block: int, lsn: int = 1) -> bytes:
    """A page whose checksum is right."""
    head = struct.pack("<IIHHHHHHI", lsn >> 32, lsn & 0xFFFFFFFF, 0, 0, 24, 8192, 8192, 8196, 0)
    page = bytearray(head + bytes([block % 251]) * (PAGE - len(head)))
    struct.pack_into("<H", page, 8, checksum(bytes(page), block))
    return bytes(page)


def torn(page: bytes) -> bytes:
    return page[:-1] + bytes([page[-1] ^ 1])


@pytest.fixture
def opened(tmp_path):
    """Makes a file of its content, and gives it open."""
    files = []

    def make(content: bytes) -> int:
        path = tmp_path / str(len(files))
        path.write_bytes(content)
        files.append(os.open(path, os.O_RDONLY))
        return files[-1]

    yield make
    for file in files:
        os.close(file)


def test_a_page_that_is_wrong_is_told_by_its_window_and_place(opened) -> None:
    whole = opened(b"".join(page_of(block) for block in range(7, 10)))
    hurt = opened(page_of(0) + torn(page_of(1)) + page_of(2) + b"a rest of a page")
    with page_reader() as reader:
        reader.ask([Window(whole, 0, 3 * PAGE, 7), Window(hurt, 0, 4 * PAGE, 0)], PAGE)
        (first, right), (second, wrong) = reader.take()
    assert (right, wrong) == ([], [(1, 1)])
    assert bytes(first) == os.pread(whole, 3 * PAGE, 0)
    assert bytes(second) == os.pread(hurt, 4 * PAGE, 0)  # shorter: the file ended


def problem_of(opened, content: bytes, written: int) -> str:
    """What is told of a relation's file that is read in a backup from LSN 500 on; the server's log
    has come to `written` when all is read."""
    file = Opened(b"base/5/7", opened(content), len(content))
    with page_reader() as reader:
        proven = Proven(reader, PAGE, 500, lambda: written)
        proven.ask(file, 0, file.size)()
    return proven.problem(file.path)


def test_a_page_that_replay_writes_anew_or_that_was_never_written_is_not_judged(opened) -> None:
    pages = [torn(page_of(0, lsn=500)), bytes(PAGE), torn(page_of(2, lsn=600))]
    assert problem_of(opened, b"".join(pages), 600) == ""
    assert "page 3 is wrong: " in problem_of(
        opened, b"".join((*pages, torn(page_of(3, lsn=499)))), 600
    )


def test_garbage_is_no_page_whatever_lsn_it_claims(opened) -> None:
    garbage = bytes(range(255, -1, -1)) * (PAGE // 256)
    headless = bytes(512) + page_of(2)[512:]
    after = torn(page_of(3, lsn=601))
    told = problem_of(opened, page_of(0) + garbage + headless + after, 600)
    assert "page 1 is wrong, and 2 more: " in told


def test_what_was_taken_never_changes_however_much_is_read_after_it(opened) -> None:
    """It lies in memory that the other process writes to."""
    rounds = 5 * ASKED_MOST
    contents = [bytes([number]) * PLACE_BYTES for number in range(rounds)]
    files = [opened(content) for content in contents]
    with page_reader() as reader:
        taken = []
        for at in range(0, rounds, ASKED_MOST):
            for file in files[at : at + ASKED_MOST]:
                reader.ask([Window(file, 0, PLACE_BYTES, 0)], PAGE)
            taken += [reader.take()[0][0] for _ in range(ASKED_MOST)]
    assert all(data == content for data, content in zip(taken, contents, strict=True))


def test_a_page_reader_that_is_killed_is_told_and_nothing_hangs(opened) -> None:
    file = opened(page_of(0))
    with page_reader() as reader:
        os.kill(_process_of(reader), signal.SIGKILL)
        with pytest.raises(SourceError, match="SIGKILL"):
            _ask_and_take(reader, file)


def _ask_and_take(reader: PageReader, file: int) -> None:
    """Whichever of the two notices it."""
    reader.ask([Window(file, 0, PAGE, 0)], PAGE)
    reader.take()


def _process_of(reader: PageReader) -> int:
    return reader._child.pid


def test_a_file_that_cannot_be_read_is_an_error_and_the_next_one_is_read(opened, tmp_path) -> None:
    whole = opened(page_of(0))
    directory = os.open(tmp_path, os.O_RDONLY)
    with page_reader() as reader:
        reader.ask([Window(directory, 0, PAGE, 0)], PAGE)
        reader.ask([Window(whole, 0, PAGE, 0)], PAGE)
        with pytest.raises(IsADirectoryError):
            reader.take()
        assert bytes(reader.take()[0][0]) == page_of(0)
    os.close(directory)


class Counted:
    """A page reader that counts what it is asked for."""

    def __init__(self, reader: PageReader) -> None:
        self._reader = reader
        self.asked: list[int] = []
        self.take = reader.take

    def ask(self, windows: list[Window], page: int) -> None:
        self.asked.append(len(windows))
        self._reader.ask(windows, page)


@pytest.fixture
def small(opened) -> list[Opened]:
    """Small files that follow each other."""
    return [Opened(b"base/5/%d" % at, opened(page_of(0)), PAGE) for at in range(32)]


def test_small_files_that_are_all_read_are_read_together(small) -> None:
    with page_reader() as reader:
        counted = Counted(reader)
        proven = Proven(counted, PAGE, NOW, lambda: NOW)
        for _ in range(4):  # of one directory after another
            proven.expect(small)
            assert all(proven.ask(file, 0, PAGE)() == page_of(0) for file in small)
    assert len(counted.asked) <= 9
    assert max(counted.asked) == 32
    assert not proven.bad_pages


def test_small_files_that_did_not_change_are_hardly_read_ahead_in_vain(small) -> None:
    with page_reader() as reader:
        counted = Counted(reader)
        proven = Proven(counted, PAGE, NOW, lambda: NOW)
        for _ in range(4):
            proven.expect(small)
            for file in small[::8]:  # the others did not change
                proven.ask(file, 0, PAGE)()
    assert sum(counted.asked) <= 2 * 16


def test_a_wrong_page_of_a_small_file_is_told_as_its_own(small, opened) -> None:
    hurt = Opened(b"base/5/7.2", opened(torn(page_of(2 * 131072))), PAGE)
    files = [*small[:3], hurt, *small[3:6]]
    with page_reader() as reader:
        proven = Proven(reader, PAGE, NOW, lambda: NOW)
        proven.expect(files)
        for file in files:
            proven.ask(file, 0, PAGE)()
    assert "page 262144 is wrong" in proven.problem(hurt.path)
    assert proven.bad_pages == 1


def test_a_page_reader_ends_well_and_nothing_of_it_is_left(opened) -> None:
    with page_reader() as reader:
        process = _process_of(reader)
        _ask_and_take(reader, opened(page_of(0)))
    assert reader._child.wait() == 0
    assert not Path(f"/proc/{process}").exists()
