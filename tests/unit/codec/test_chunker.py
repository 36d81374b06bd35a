"""Cutting: nothing is lost, cuts depend on content alone, a change stays where it was made."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drctl.codec.chunker import Chunker, in_blocks
from drctl.codec.limits import CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, MIB

SEED = 1 << 62
FEW = settings(deadline=None, max_examples=20)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes | memoryview]:
    """The data in pieces of these sizes, over and over; memory views and bytes in turn."""
    view, at, turn = memoryview(data), 0, 0
    while at < len(data):
        end = at + sizes[turn % len(sizes)]
        yield view[at:end] if turn % 2 else data[at:end]
        at, turn = end, turn + 1


def cut(data: bytes, sizes: list[int] | None = None, seed: int = SEED) -> list[bytes]:
    given_pieces = pieces(data, sizes or [len(data) or 1])
    return [bytes(blob) for blob in Chunker(seed).cut(given_pieces)]


SIZES = st.integers(0, 20 * MIB) | st.sampled_from(
    [0, 1, CHUNK_MIN_BYTES, CHUNK_MAX_BYTES, 2 * CHUNK_MAX_BYTES, 2 * CHUNK_MAX_BYTES + 1]
)
PIECES = st.lists(
    st.sampled_from([1 << 12, 65_537, MIB, 3 * MIB, 2 * CHUNK_MAX_BYTES, 9 * MIB]),
    min_size=1,
    max_size=4,
)


@FEW
@given(size=SIZES, sizes=PIECES, seed=st.integers(0, 3))
def test_cuts_depend_on_the_content_and_not_on_the_pieces(size, sizes, seed) -> None:
    data = noise(size, seed)
    whole = cut(data)
    assert b"".join(whole) == data
    assert cut(data, sizes) == whole


@FEW
@given(size=SIZES, seed=st.integers(0, 3))
def test_blobs_keep_within_their_bounds(size, seed) -> None:
    lengths = [len(blob) for blob in cut(noise(size, seed))]
    assert all(CHUNK_MIN_BYTES <= length <= CHUNK_MAX_BYTES for length in lengths[:-1])
    assert all(0 < length <= CHUNK_MAX_BYTES for length in lengths[-1:])


def test_content_of_one_byte_over_and_over_is_cut_too() -> None:
    blobs = cut(bytes(20 * MIB), [MIB])
    assert sum(map(len, blobs)) == 20 * MIB
    assert max(map(len, blobs)) <= CHUNK_MAX_BYTES
    assert len(set(blobs)) <= 2


@FEW
@given(at=st.integers(0, 16 * MIB), length=st.integers(1, 100_000), seed=st.integers(0, 3))
def test_an_insertion_changes_few_blobs(at, length, seed) -> None:
    data = noise(16 * MIB, seed)
    changed = data[:at] + noise(length, seed + 100) + data[at:]
    before, after = cut(data), cut(changed, [MIB])
    new = set(after) - set(before)
    assert 1 <= len(new) <= 6
    assert len(after) > 8


def test_another_seed_cuts_elsewhere() -> None:
    data = noise(16 * MIB)
    here = {len(blob) for blob in cut(data, seed=1)}
    there = {len(blob) for blob in cut(data, seed=2)}
    assert len(here & there) < 4


@pytest.mark.parametrize("seed", [0, 1, (1 << 63) - 1])
def test_every_seed_of_63_bits_serves(seed) -> None:
    data = noise(2 * MIB)
    assert b"".join(cut(data, seed=seed)) == data


def test_a_chunker_serves_one_stream_after_the_other() -> None:
    chunker = Chunker(SEED)
    data = noise(6 * MIB)
    first = [bytes(blob) for blob in chunker.cut([data])]
    assert [bytes(blob) for blob in chunker.cut([data])] == first


@settings(deadline=None)
@given(
    data=st.binary(max_size=4000),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=5),
    block=st.integers(1, 600),
)
def test_blocks_are_all_of_one_length_but_the_last(data, sizes, block) -> None:
    found = [span for spans in in_blocks(pieces(data, sizes), block) for span in spans]
    blobs = [bytes(whole[start:end]) for whole, start, end in found]
    assert blobs == [data[at : at + block] for at in range(0, len(data), block)]


def test_nothing_is_cut_into_nothing() -> None:
    for nothing in ([], [b"", b""]):
        assert list(Chunker(SEED).cut(nothing)) == []
        assert list(in_blocks(nothing, 4096)) == []


def test_blocks_that_lie_side_by_side_are_parts_of_one_piece_that_nobody_copied() -> None:
    data = bytes(noise(2 * MIB))
    (spans,) = in_blocks([data], 32 * 1024)
    assert all(whole is data for whole, _, _ in spans)
