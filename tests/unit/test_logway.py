"""How far a log goes behind a snapshot: a gap is told, and never taken for the end."""

import pytest

from drctl.logpieces import LogPiece
from drctl.model import Snapshot
from drctl.ops.logway import along, confirmed

MIB = 1 << 20
SIZE = 16 * MIB


def snapshot(**facts: str) -> Snapshot:
    return Snapshot("a" * 64, "db", "postgres", "h", 0, 0, 0, 1, 1, 1, 0, facts=facts)


def piece(file: str, size: int, at: int, *, offset: int = 0, whole: bool = False) -> LogPiece:
    return LogPiece(f"{file}.{offset}", file, offset, size, whole, at)


def segment(number: int, at: int, timeline: int = 1, whole: bool = True) -> LogPiece:
    name = f"{timeline:08X}{number // 256:08X}{number % 256:08X}"
    return piece(name, SIZE if whole else MIB, at, whole=whole)


BASE = snapshot(log_first=f"{1:08X}{0:08X}{253:08X}", log_reached=f"{1:08X}{0:08X}{254:08X}")


@pytest.mark.parametrize(
    ("pieces", "stored_at", "gap"),
    [
        ([], 0, ""),
        # What the snapshot brought itself may be missing, and numbers go on behind a border.
        ([segment(255, 1), segment(256, 2), segment(257, 3, whole=False)], 3, ""),
        ([segment(255, 1), segment(257, 3)], 1, "before 000000010000000100000001 is missing"),
        ([segment(256, 2)], 0, "before 000000010000000100000000 is missing"),
        ([segment(255, 1, whole=False), segment(256, 2)], 1, "0000000100000000000000FF is not"),
        # A promotion: the segment in which the timeline was left is there on both.
        ([segment(255, 1, whole=False), segment(255, 2, 2), segment(256, 3, 2)], 3, ""),
        # What a lost primary wrote behind the promotion is not followed, and hides no gap.
        ([segment(255, 1), segment(256, 9), segment(255, 2, 2, whole=False)], 2, ""),
        ([segment(255, 1), segment(256, 9), segment(255, 2, 2), segment(257, 3, 2)], 2, "is miss"),
        # Older ones are no concern of this snapshot.
        ([segment(3, 9), segment(255, 1)], 1, ""),
    ],
)
def test_segments_are_followed_up_to_a_gap(pieces, stored_at, gap) -> None:
    way = along(BASE, pieces)
    assert (way.stored_at_ns, bool(way.gap)) == (stored_at, bool(gap))
    assert gap in way.gap


def test_a_gap_is_told_also_before_any_segment_behind_it_is_whole() -> None:
    base = snapshot(**BASE.facts, segment_bytes=str(SIZE))
    way = along(base, [segment(256, 2, whole=False)])
    assert "before 000000010000000100000000 is missing" in way.gap


@pytest.mark.parametrize(
    ("pieces", "stored_at", "gap"),
    [
        ([piece("binlog.000002", 9, 1, whole=True), piece("binlog.000003", 4, 2)], 2, ""),
        ([piece("binlog.000002", 9, 1), piece("binlog.000003", 4, 2)], 1, "binlog.000002 is not"),
        ([piece("binlog.000003", 4, 2)], 0, "what comes before binlog.000003 is missing"),
        (
            [piece("binlog.000002", 9, 1), piece("binlog.000002", 4, 2, offset=12)],
            1,
            "binlog.000002 is not whole",
        ),
        ([piece("binlog.000001", 9, 7), piece("binlog.000002", 9, 1)], 1, ""),
    ],
)
def test_binlogs_are_followed_up_to_a_gap(pieces, stored_at, gap) -> None:
    way = along(snapshot(log_first="binlog.000002"), pieces)
    assert (way.stored_at_ns, bool(way.gap)) == (stored_at, bool(gap))
    assert gap in way.gap


def test_a_gap_that_a_second_listing_does_not_show_is_none() -> None:
    base = snapshot(log_first="binlog.000002")
    first = along(base, [piece("binlog.000003", 4, 2)])
    now = [piece("binlog.000002", 9, 1, whole=True), piece("binlog.000003", 4, 2)]
    assert first.gap
    assert not confirmed(base, lambda: now, first).gap
