"""Records that make tablespaces, wherever in the log they stand."""

import struct
from pathlib import Path

import pytest
from checksums import crc32c

from drctl.engines.postgres_inside import Made, make_inside

PAGE, SEGMENT = 8192, 1 << 20
NAMES = ("00000001000000000000000F", "000000010000000000000010")


def record(place: str, info: int = 0, manager: int = 5) -> bytes:
    data = struct.pack("=I", 16431) + place.encode() + b"\0" if place else b"\0" * 5
    head = (
        b"\xff" + bytes([len(data)]) if len(data) < 256 else b"\xfe" + struct.pack("=I", len(data))
    )
    data = head + data
    start = struct.pack("=IIQBBH", 24 + len(data), 700, 0x1000, info, manager, 0)
    return start + struct.pack("=I", crc32c(data + start)) + data


def log(folder: Path, *at: tuple[int, bytes]) -> None:
    """Two segments, with records at places in what is left without the heads of pages."""
    pages = 2 * SEGMENT // PAGE
    rooms = [PAGE - (40 if page % (pages // 2) == 0 else 24) for page in range(pages)]
    plain = bytearray(sum(rooms))
    for place, content in at:
        plain[place : place + len(content)] = content
    whole, done = b"", 0
    for room in rooms:
        head = struct.pack("=HHIQI", 0xD110, 2 if room == PAGE - 40 else 0, 1, len(whole), 0)
        head = head.ljust(24, b"\0")
        if room == PAGE - 40:
            head += struct.pack("=QII", 1, SEGMENT, PAGE)
        whole += head + plain[done : done + room]
        done += room
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(whole[number * SEGMENT : (number + 1) * SEGMENT])


def plain(folder: Path) -> bytes:
    both = b"".join((folder / name).read_bytes() for name in NAMES)
    heads = {0: 40, SEGMENT: 40}
    return b"".join(both[at + heads.get(at, 24) : at + PAGE] for at in range(0, len(both), PAGE))


SECOND = SEGMENT - SEGMENT // PAGE * 24 - 16  # where the second segment begins without heads
FIRST_PAGE = PAGE - 40


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("end", [FIRST_PAGE, SECOND, 4096])
@pytest.mark.parametrize("before", [8, 16, 24, 32, 56])
def test_a_path_is_taken_out_of_a_record_also_where_a_page_or_a_segment_ends_in_it(
    tmp_path, end, before, long
) -> None:
    place = "/srv/" + "ts" * (300 if long else 20)
    log(tmp_path, (end - before, record(place)))
    assert make_inside(str(tmp_path), NAMES, SEGMENT) == [Made(16431, place)]
    found = plain(tmp_path)[end - before :][: len(record(place))]
    data = found[24:]
    assert data[(9 if long else 6)] == 0
    assert struct.unpack_from("=I", found, 20)[0] == crc32c(data + found[:20])
    assert found[:20] == record(place)[:20]
    assert make_inside(str(tmp_path), NAMES, SEGMENT) == []


def test_what_only_looks_like_one_stays_as_it_is(tmp_path) -> None:
    broken = record("/srv/two")[:-1] + b"x"
    log(
        tmp_path,
        (800, record("/srv/one", info=0x10)),
        (1600, record("/srv/one", manager=4)),
        (2400, broken),
        (3200, record("")),
        (4000, struct.pack("=QQQ", 0x500, 0x500, 0x500) * 100),
        (SECOND * 2 - 24, record("/srv/three")[:24]),  # the log ends in it
    )
    before = plain(tmp_path)
    assert make_inside(str(tmp_path), NAMES, SEGMENT) == []
    assert plain(tmp_path) == before


def test_of_two_timelines_each_has_its_own_begin_of_a_record(tmp_path) -> None:
    log(tmp_path, (SECOND - 32, record("/srv/ts")))
    older = tmp_path / NAMES[0]
    newer = tmp_path / NAMES[0].replace("00000001", "00000002", 1)
    newer.write_bytes(older.read_bytes())
    assert make_inside(str(tmp_path), [*NAMES, newer.name], SEGMENT) == [Made(16431, "/srv/ts")]
    assert newer.read_bytes() == older.read_bytes()
    assert make_inside(str(tmp_path), NAMES, SEGMENT) == []
