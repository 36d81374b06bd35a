"""What is sealed opens where it was meant to stand, and nowhere else."""

import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from drctl.codec import segment
from drctl.codec.limits import MIB, SEGMENT_MAX_BYTES, TABLE_MAX_BYTES
from drctl.codec.seal import DataSeal, decompress, open_meta, seal_meta
from drctl.errors import IntegrityError

META, REPOSITORY, KIND = b"m" * 32, b"r" * 16, b"DRCTLI01"
SESSION, KEY = b"s" * 16, b"k" * 32
randomness = random.Random(7).randbytes
QUICK = settings(deadline=None, max_examples=60)
BLOBS = st.lists(st.binary(max_size=300), max_size=12)


def sealed(plain: bytes, kind: bytes = KIND) -> bytes:
    return seal_meta(META, REPOSITORY, kind, plain, randomness)


@QUICK
@given(plain=st.binary(max_size=5000))
def test_metadata_comes_back(plain) -> None:
    assert open_meta(META, REPOSITORY, KIND, sealed(plain)) == plain
    assert open_meta(META, REPOSITORY, KIND, memoryview(sealed(plain))) == plain


@QUICK
@given(plain=st.binary(max_size=300), data=st.data())
def test_metadata_with_any_wrong_bit_is_refused(plain, data) -> None:
    wrong = bytearray(sealed(plain))
    bit = data.draw(st.integers(0, len(wrong) * 8 - 1))
    wrong[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        open_meta(META, REPOSITORY, KIND, wrong)


@QUICK
@given(plain=st.binary(max_size=100), data=st.data())
def test_metadata_cut_short_or_grown_is_refused(plain, data) -> None:
    whole = sealed(plain)
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for wrong in (short, whole + b"\0", b"\0" + whole):
        with pytest.raises(IntegrityError):
            open_meta(META, REPOSITORY, KIND, wrong)


def test_metadata_moved_to_another_place_is_refused() -> None:
    whole = sealed(b"content")
    other_kind = b"DRCTLS01"
    for meta, repository, kind, found in (
        (META, b"x" * 16, KIND, whole),
        (b"x" * 32, REPOSITORY, KIND, whole),
        (META, REPOSITORY, other_kind, whole),
        (META, REPOSITORY, other_kind, other_kind + whole[len(other_kind) :]),
    ):
        with pytest.raises(IntegrityError):
            open_meta(meta, repository, kind, found)


def test_the_same_metadata_is_never_sealed_the_same_way() -> None:
    salts = {sealed(b"content")[8:40] for _ in range(200)}
    assert len(salts) == 200


@QUICK
@given(blobs=BLOBS, number=st.integers(0, 2**64 - 1), level=st.integers(-7, 4))
def test_a_segment_comes_back(blobs, number, level) -> None:
    seal = DataSeal(REPOSITORY, SESSION, KEY)
    raw = b"".join(blobs)
    compression, found = segment.encode(seal, number, blobs, level)
    assert segment.decode(seal, number, compression, len(raw), found) == raw


def test_what_compresses_is_compressed_and_what_does_not_stays_raw() -> None:
    seal = DataSeal(REPOSITORY, SESSION, KEY)
    assert segment.encode(seal, 0, [bytes(MIB)], 3)[0] == segment.ZSTD
    compression, found = segment.encode(seal, 1, [randomness(MIB)], 3)
    assert compression == segment.RAW
    assert len(found) == MIB + 16


@QUICK
@given(blobs=BLOBS, data=st.data())
def test_a_segment_with_any_wrong_bit_is_refused(blobs, data) -> None:
    seal = DataSeal(REPOSITORY, SESSION, KEY)
    compression, found = segment.encode(seal, 3, blobs, 3)
    wrong = bytearray(found)
    bit = data.draw(st.integers(0, len(wrong) * 8 - 1))
    wrong[bit // 8] ^= 1 << bit % 8
    for bad in (bytes(wrong), found[:-1], found + b"\0", b""):
        with pytest.raises(IntegrityError):
            segment.decode(seal, 3, compression, sum(map(len, blobs)), bad)


@pytest.mark.parametrize(
    ("repository", "session", "key", "number", "compression", "raw_bytes"),
    [
        (b"x" * 16, SESSION, KEY, 5, segment.ZSTD, 5000),
        (REPOSITORY, b"x" * 16, KEY, 5, segment.ZSTD, 5000),
        (REPOSITORY, SESSION, b"x" * 32, 5, segment.ZSTD, 5000),
        (REPOSITORY, SESSION, KEY, 6, segment.ZSTD, 5000),
        (REPOSITORY, SESSION, KEY, 5, segment.RAW, 5000),
        (REPOSITORY, SESSION, KEY, 5, segment.ZSTD, 4999),
        (REPOSITORY, SESSION, KEY, 5, 2, 5000),
        (REPOSITORY, SESSION, KEY, 5, -1, 5000),
        (REPOSITORY, SESSION, KEY, 5, segment.ZSTD, -1),
        (REPOSITORY, SESSION, KEY, 5, segment.ZSTD, SEGMENT_MAX_BYTES + 1),
    ],
)
def test_a_segment_opens_only_as_what_and_where_it_was_sealed(
    repository, session, key, number, compression, raw_bytes
) -> None:
    _, found = segment.encode(DataSeal(REPOSITORY, SESSION, KEY), 5, [b"x" * 5000], 3)
    with pytest.raises(IntegrityError):
        segment.decode(DataSeal(repository, session, key), number, compression, raw_bytes, found)


def test_every_number_is_a_nonce_of_its_own() -> None:
    """The same bytes under other numbers give other ciphertext: the whole number counts."""
    seal = DataSeal(REPOSITORY, SESSION, KEY)
    numbers = [*range(500), 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    assert len({seal.seal(number, bytes(32), b"")[:16] for number in numbers}) == len(numbers)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_data_key_of_another_length_is_refused(length) -> None:
    with pytest.raises(IntegrityError):
        DataSeal(REPOSITORY, SESSION, bytes(length))


def frame(stated_bytes: int) -> bytes:
    """A zstd frame of three bytes that states another size in its header (RFC 8878, 3.1.1)."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + stated_bytes.to_bytes(8, "little")
    block = (3 << 3 | 1).to_bytes(3, "little") + b"abc"
    return header + block


def test_the_frames_made_here_are_frames() -> None:
    assert decompress(frame(3), 100) == b"abc"


@pytest.mark.parametrize("stated_bytes", [4, 101, MIB, 2**40, 2**63, 2**64 - 3])
def test_a_frame_that_states_a_wrong_or_huge_size_is_refused(stated_bytes) -> None:
    with pytest.raises(IntegrityError):
        decompress(frame(stated_bytes), 100)


@pytest.mark.parametrize("stated_bytes", [SEGMENT_MAX_BYTES + 1, TABLE_MAX_BYTES + 1, 2**62])
def test_the_limits_of_the_format_hold(stated_bytes) -> None:
    limit = SEGMENT_MAX_BYTES if stated_bytes == SEGMENT_MAX_BYTES + 1 else TABLE_MAX_BYTES
    with pytest.raises(IntegrityError, match="at most"):
        decompress(frame(stated_bytes), limit)


def test_a_frame_that_does_not_state_its_size_is_refused() -> None:
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 100)
    with pytest.raises(IntegrityError):
        decompress(unsized, 1000)


def test_bytes_behind_a_frame_are_refused() -> None:
    with pytest.raises(IntegrityError):
        decompress(zstandard.compress(b"abc") + b"more", 1000)


@QUICK
@given(data=st.binary(max_size=200))
def test_anything_decompresses_or_is_refused(data) -> None:
    for packed in (data, b"\x28\xb5\x2f\xfd" + data):
        try:
            plain = decompress(packed, 1000)
        except IntegrityError:
            continue  # refused in its own words, as it must be
        assert len(plain) <= 1000
