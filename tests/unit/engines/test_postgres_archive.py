"""What archive_command hands out is stored only where it is what its name says."""

import struct

import pytest

from drctl.engines.postgres_archive import _check_segment
from drctl.errors import SourceError

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
    _check_segment(name, bytes(now), str(OWN))
    closed_early = now[: 5 * PAGE] + bytes(SIZE - 5 * PAGE)
    _check_segment(name, bytes(closed_early), str(OWN))
    written_over = now[: 5 * PAGE] + kept[5 * PAGE :]
    for wrong in (kept, written_over):
        with pytest.raises(SourceError, match="holds WAL of before"):
            _check_segment(name, bytes(wrong), str(OWN))


@pytest.mark.parametrize("page", [0, 1, 5000])
def test_pages_of_no_size_are_no_wal(page) -> None:
    made = segment(9)
    struct.pack_into("<I", made, 36, page)
    with pytest.raises(SourceError, match="is no WAL of this cluster"):
        _check_segment("000000010000000000000009", bytes(made), str(OWN))
