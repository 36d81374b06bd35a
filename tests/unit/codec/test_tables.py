"""Packs and the tables that say where blobs lie."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from drctl.codec import pack, table
from drctl.codec.table import Columns, PackTable, Segment
from drctl.errors import IntegrityError

QUICK = settings(deadline=None, max_examples=80)
U32 = st.integers(0, 2**32 - 1)
ID = st.binary(min_size=32, max_size=32)
SEGMENT = st.builds(
    Segment,
    session=st.sampled_from([b"a" * 16, b"b" * 16, b"c" * 16]),
    number=st.integers(0, 2**64 - 1),
    offset=U32,
    stored_bytes=U32,
    raw_bytes=U32,
    compression=st.integers(0, 255),
    blobs=st.lists(st.tuples(ID, U32), max_size=4).map(tuple),
)
PACK = st.builds(PackTable, name=ID, segments=st.lists(SEGMENT, max_size=4).map(tuple))


@QUICK
@given(packs=st.lists(PACK, max_size=5))
def test_a_table_comes_back(packs) -> None:
    assert table.decode(table.encode(packs)) == packs


def test_a_table_of_nothing_comes_back() -> None:
    assert table.decode(table.encode([])) == []
    assert table.decode(table.encode([PackTable(b"", ())])) == [PackTable(b"", ())]


def columns() -> Columns:
    one = Segment(b"a" * 16, 1, 8, 20, 30, 1, ((b"i" * 32, 10), (b"j" * 32, 20)))
    two = Segment(b"b" * 16, 2, 28, 20, 30, 0, ((b"k" * 32, 30),))
    return table.decode_columns(table.encode([PackTable(b"p" * 32, (one, two))]))


@pytest.mark.parametrize("name", Columns.__struct_fields__)
@pytest.mark.parametrize("change", ["shorter", "longer", "a byte less", "a byte more"])
def test_columns_that_do_not_fit_each_other_are_refused(name, change) -> None:
    """Of every column; but a session or a pack's name that nobody uses does no harm."""
    whole = columns()
    width = len(getattr(whole, name)) // {"packs": 1, "pack_segments": 1, "ids": 3}.get(name, 2)
    width = {"lengths": 4}.get(name, width)
    wrong = {
        "shorter": getattr(whole, name)[:-width],
        "longer": getattr(whole, name) + bytes(width),
        "a byte less": getattr(whole, name)[:-1],
        "a byte more": getattr(whole, name) + b"\0",
    }[change]
    encoded = msgspec.msgpack.encode(replace(whole, **{name: wrong}))
    if (name, change) in {("sessions", "longer"), ("packs", "shorter")}:
        table.decode(encoded)
        return
    with pytest.raises(IntegrityError):
        table.decode(encoded)


def test_counts_that_only_add_up_by_overflowing_are_refused() -> None:
    huge = (2**32 - 1).to_bytes(4, "little")
    for name in ("segment_blobs", "pack_segments", "session"):
        good = getattr(columns(), name)
        wrong = msgspec.msgpack.encode(replace(columns(), **{name: huge + good[4:]}))
        with pytest.raises(IntegrityError):
            table.decode(wrong)


BLOBS = st.lists(st.tuples(ID, st.integers(0, 2**20)), min_size=1, max_size=3).map(tuple)


def laid_out(parts: list[tuple[tuple[tuple[bytes, int], ...], int]]) -> tuple[Segment, ...]:
    """Segments one after the other, as a writer lays them."""
    made: list[Segment] = []
    at = pack.HEAD_BYTES
    for number, (blobs, stored) in enumerate(parts):
        raw = sum(size for _, size in blobs)
        made.append(Segment(b"s" * 16, number, at, stored, raw, 0, blobs))
        at += stored
    return tuple(made)


@QUICK
@given(parts=st.lists(st.tuples(BLOBS, st.integers(16, 2**20)), max_size=4))
def test_a_packs_table_comes_back_and_must_fit_the_pack(parts) -> None:
    segments = laid_out(parts)
    end = pack.HEAD_BYTES + sum(segment.stored_bytes for segment in segments)
    plain = table.encode([PackTable(b"", segments)])
    assert pack.decode_toc(plain, end) == segments
    for wrong in (end - 1, end + 1, 0):
        with pytest.raises(IntegrityError):
            pack.decode_toc(plain, wrong)


def test_segments_that_overlap_or_leave_gaps_are_refused() -> None:
    first, second = laid_out([(((b"i" * 32, 5),), 100), (((b"j" * 32, 6),), 50)])
    moved = [
        (second, first),
        (first, first),
        (first,),
        (first, Segment(b"s" * 16, 1, 107, 51, 6, 0, second.blobs)),
        (first, Segment(b"s" * 16, 1, 108, 50, 7, 0, second.blobs)),
    ]
    for segments in moved:
        with pytest.raises(IntegrityError):
            pack.decode_toc(table.encode([PackTable(b"", segments)]), 158)


@pytest.mark.parametrize("packs", [0, 2])
def test_a_table_of_contents_is_of_one_pack(packs) -> None:
    with pytest.raises(IntegrityError):
        pack.decode_toc(table.encode([PackTable(b"p" * 32, ())] * packs), 8)


@QUICK
@given(toc=st.binary(max_size=100), before=st.integers(0, 1000))
def test_a_packs_tail_says_how_long_its_table_is(toc, before) -> None:
    tail = pack.tail(toc)
    whole = pack.HEAD_BYTES + before + len(tail)
    assert pack.toc_length(tail[-pack.TAIL.size :], whole) == len(toc)


@pytest.mark.parametrize(
    ("last", "pack_bytes"),
    [
        (b"", 100),
        (b"\0" * 11, 100),
        (b"\0" * 12, 100),
        (pack.TAIL.pack(81, pack.MAGIC), 100),
        (pack.TAIL.pack(2**32 - 1, pack.MAGIC), 100),
        (pack.TAIL.pack(0, pack.MAGIC), 19),
        (pack.TAIL.pack(10, pack.TOC_MAGIC), 100),
    ],
)
def test_a_tail_that_no_pack_can_have_is_refused(last, pack_bytes) -> None:
    with pytest.raises(IntegrityError):
        pack.toc_length(last, pack_bytes)


def test_a_table_may_be_all_there_is() -> None:
    assert pack.toc_length(pack.TAIL.pack(80, pack.MAGIC), 100) == 80
