"""mariadb-backup's stream: every file comes out as it went in, and one that is cut is refused."""

import io
import random
import struct
import time
import zlib
from collections.abc import Iterator

import pytest

from drctl.engines import buffered
from drctl.engines.buffered import Buffered
from drctl.engines.piped_files import Files
from drctl.engines.xbstream import Part, parts
from drctl.errors import SourceError

MIB = 1 << 20


def chunk(path: bytes, offset: int, data: bytes | None) -> bytes:
    """As mariadb-backup writes it."""
    kind = b"E" if data is None else b"P"
    head = b"XBSTCK01" + b"\0" + kind + struct.pack("<I", len(path)) + path
    if data is None:
        return head
    return head + struct.pack("<QQI", len(data), offset, zlib.crc32(data)) + data


def stream_of(files: dict[bytes, bytes], step: int, seed: int = 0) -> bytes:
    """All of them at once, in turns."""
    turns = random.Random(seed)
    at = dict.fromkeys(files, 0)
    made = []
    while at:
        path = turns.choice(list(at))
        data = files[path][at[path] : at[path] + step]
        if data:
            made.append(chunk(path, at[path], data))
            at[path] += len(data)
        else:
            made.append(chunk(path, 0, None))
            del at[path]
    return b"".join(made)


def received(stream: bytes, scratch) -> dict[bytes, bytes]:
    found = {}
    for file in Files(parts(io.BytesIO(stream)), str(scratch)):
        assert file.path not in found
        found[file.path] = b"".join(file.pieces())
        assert file.size_hint == len(found[file.path])
    return found


LIVE = {
    b"ib_logfile0": random.Random(1).randbytes(9 * MIB + 7),
    b"app/big.ibd": random.Random(2).randbytes(3 * MIB),
    b"app/other.ibd": random.Random(3).randbytes(2 * MIB + 512),
    b"app/big.frm": b"small",
    b"app/empty": b"",
}


@pytest.mark.parametrize("seed", range(4))
def test_files_that_take_turns_come_out_whole(seed, tmp_path) -> None:
    assert received(stream_of(LIVE, 300_000, seed), tmp_path) == LIVE
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_is_cut_anywhere_is_refused(tmp_path) -> None:
    whole = stream_of({b"a/b": b"content", b"c": b"more of it"}, 4)
    assert received(whole, tmp_path) == {b"a/b": b"content", b"c": b"more of it"}
    borders = set()
    for end in range(1, len(whole)):
        with pytest.raises(SourceError) as caught:
            received(whole[:end], tmp_path)
        borders.add("was whole" in caught.value.what)
    assert borders == {False, True}


@pytest.mark.parametrize(
    "stream",
    [
        b"XBSTCK02" + chunk(b"a", 0, b"x")[8:],
        chunk(b"a", 5, b"x"),
        chunk(b"../a", 0, b"x") + chunk(b"../a", 0, None),
        chunk(b"/a", 0, b"x") + chunk(b"/a", 0, None),
        chunk(b"", 0, b"x") + chunk(b"", 0, None),
        chunk(b"a", 0, b"x").replace(b"\0P", b"\0R"),
        b"XBSTCK01\0P\xff\xff\xff\xff",
    ],
    ids=["magic", "gap", "above", "absolute", "nameless", "unknown", "endless"],
)
def test_what_cannot_be_understood_is_refused(stream, tmp_path) -> None:
    with pytest.raises(SourceError):
        received(stream, tmp_path)


# -- between the database and a storage that may be slow -------------------------------------------


def numbered(count: int, given: list[int]) -> Iterator[Part]:
    for number in range(count):
        given.append(number)
        yield Part(b"p", number, memoryview(bytes([number]) * MIB))


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def test_a_database_waits_for_its_reader_until_it_holds_something_back(tmp_path) -> None:
    given: list[int] = []
    held = Buffered(numbered(80, given), str(tmp_path))
    most = buffered._MOST_BYTES // MIB + 2
    held.start()
    wait_until(lambda: len(given) >= most)
    assert len(given) == most
    held.hurry()
    wait_until(lambda: len(given) == 80)
    found = [(part.offset, bytes(part.data or b"")) for part in held]
    assert found == [(number, bytes([number]) * MIB) for number in range(80)]
    held.join()


def test_who_reads_no_further_leaves_nobody_waiting(tmp_path) -> None:
    given: list[int] = []
    held = Buffered(numbered(80, given), str(tmp_path))
    held.start()
    assert next(iter(held)).offset == 0
    held.close()
    held.join()
    assert len(given) < 80


def test_what_goes_wrong_while_it_is_read_comes_after_what_was_read(tmp_path) -> None:
    def breaking() -> Iterator[Part]:
        yield Part(b"p", 0, memoryview(b"x"))
        raise SourceError("broken")

    held = Buffered(breaking(), str(tmp_path))
    held.start()
    reading = iter(held)
    assert next(reading).offset == 0
    with pytest.raises(SourceError, match="broken"):
        next(reading)
    held.join()


def test_a_disk_without_room_is_told(tmp_path) -> None:
    given: list[int] = []
    held = Buffered(numbered(80, given), str(tmp_path / "missing"))
    held.start()
    wait_until(lambda: held._held_bytes > buffered._MOST_BYTES)
    held.hurry()
    wait_until(lambda: held._is_over)
    with pytest.raises(SourceError, match="slower than the database"):
        list(held)
    held.join()
