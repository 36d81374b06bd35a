"""Which timeline a stream follows, and which segments a restore takes, by their names alone."""

import pytest

from drctl.engines.postgres_wal import Base, begin, needed, resume
from drctl.logpieces import LogFile, LogPiece

EACH = 16 << 20
BASE = Base(timeline=1, segment_bytes=EACH, reached=2, end=2 * EACH + 100)
WAY = [(1, 5 * EACH + 10), (2, 7 * EACH), (3, 0)]


@pytest.mark.parametrize(
    ("timeline", "at", "expected"),
    [
        (1, 5 * EACH, (1, 5 * EACH)),
        (1, 5 * EACH + 10, (2, 5 * EACH)),  # here the server has nothing more to send of it
        (1, 6 * EACH, (2, 5 * EACH)),
        (1, 9 * EACH, (2, 5 * EACH)),
        (2, 6 * EACH, (2, 6 * EACH)),
        (2, 7 * EACH, (3, 7 * EACH)),
        (3, 9 * EACH, (3, 9 * EACH)),
    ],
)
def test_a_stream_leaves_a_timeline_where_the_server_left_it(timeline, at, expected) -> None:
    assert resume(timeline, at, WAY, EACH) == expected


@pytest.mark.parametrize(("restart", "timeline"), [(4, 1), (5, 1), (6, 2), (7, 3), (9, 3)])
def test_a_server_of_which_nothing_is_stored_is_followed_from_what_its_slot_keeps(
    restart, timeline
) -> None:
    assert begin(restart * EACH, WAY[:2], 3) == (timeline, restart * EACH)


def segments(*found: tuple[int, int, bool]) -> dict[str, LogFile]:
    """By timeline, number and whether it is whole."""
    files = {}
    for timeline, number, whole in found:
        name = f"{timeline:08X}{0:08X}{number:08X}"
        size = EACH if whole else EACH // 4
        files[name] = LogFile(name, (LogPiece(f"{name}.0", name, 0, size, whole, 0),))
    return files


LOST_PRIMARY = ((1, 3, True), (1, 4, True), (1, 5, True), (1, 6, True), (1, 7, False))


def test_what_a_lost_primary_wrote_beyond_the_promotion_is_no_gap_in_the_new_way() -> None:
    files = segments(*LOST_PRIMARY, (2, 5, False))
    chosen, gap = needed(BASE, files, 2, WAY[:1], None)
    assert gap is None
    assert [file.file for file in chosen] == [*list(files)[:2], list(files)[-1]]


def test_an_old_timelines_segment_is_cut_where_it_was_left() -> None:
    """Until the new one's own copy of that segment is stored as far."""
    (*_, last), gap = needed(BASE, segments(*LOST_PRIMARY), 2, WAY[:1], None)
    assert (last.file[:8], last.size, last.whole, gap) == ("00000001", 10, False, None)
    files = segments(*LOST_PRIMARY, (2, 6, False))
    _, gap = needed(BASE, files, 2, WAY[:1], None)
    assert gap is not None, "the rest of that segment was never stored"
    assert "000000010000000000000005 is not whole" in gap.what


def test_a_position_in_a_segment_that_is_stored_in_part_is_refused_behind_that_part() -> None:
    files = segments((1, 3, False), (1, 4, True))
    near, far = 3 * EACH + 100, 3 * EACH + EACH // 2
    assert needed(BASE, files, 1, [], near)[1] is None
    assert needed(BASE, files, 1, [], far)[1] is not None


def test_the_lost_primarys_own_way_goes_to_its_end() -> None:
    files = segments(*LOST_PRIMARY, (2, 5, False))
    chosen, gap = needed(BASE, files, 1, [], None)
    assert (gap, len(chosen)) == (None, 5)


def test_what_a_lost_primary_wrote_does_not_hide_a_gap_in_the_new_way() -> None:
    files = segments(*LOST_PRIMARY, (2, 5, True), (2, 7, False))
    _, gap = needed(BASE, files, 2, WAY[:1], None)
    assert gap is not None
    assert "number 6 is missing" in gap.what
