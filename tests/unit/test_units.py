"""What people write is understood or refused with an example; what they read is short and true."""

import re
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drctl.cli.standard import say
from drctl.events import Notice
from drctl.report.reporters import Lines
from drctl.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    begin_of,
    count,
    iso_instant,
    parse_duration,
    parse_instant,
    parse_size,
    show_bytes,
    show_instant,
    show_path,
    show_seconds,
    show_text,
)

SECOND_NS = 10**9
NOON_NS = 1_772_366_400 * SECOND_NS  # 2026-03-01T12:00:00Z


@pytest.fixture
def berlin(monkeypatch) -> None:
    """Local time of another place: UTC+1 in winter."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()


@pytest.fixture(autouse=True)
def _local_time_comes_back() -> Iterator[None]:
    yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("90s", 90),
        ("15m", 900),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 35d ", 3_024_000),
        ("2w", 1_209_600),
        ("1.5h", 5400),
        ("0s", 0),
    ],
)
def test_a_duration_is_read(text, seconds) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(
    "text", ["", " ", "5", "1y", "1M", "h", "-1h", "1h-2m", "1e3s", ".5h", "1 h x"]
)
def test_what_is_no_duration_is_refused_with_an_example(text) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 90s, 15m, 1h30m or 35d"):
        parse_duration(text)
    assert not re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("512", 512),
        ("0", 0),
        ("64k", 64_000),
        ("64kB", 64_000),
        ("64KiB", 65_536),
        ("10MiB", 10 << 20),
        ("1.5 GB", 1_500_000_000),
        ("2gib", 2 << 30),
        ("1TiB", 1 << 40),
        ("7b", 7),
    ],
)
def test_a_size_is_read(text, size_bytes) -> None:
    assert parse_size(text) == size_bytes
    assert re.search(SIZE_PATTERN, text)


@pytest.mark.parametrize("text", ["", "k", "10 apples", "-1", "1e3", "5i", "5ib", "1PiB", "1,5G"])
def test_what_is_no_size_is_refused_with_an_example(text) -> None:
    with pytest.raises(ValueError, match=r"is not a size such as 512k, 10MiB or 1\.5GB"):
        parse_size(text)


@given(size_bytes=st.integers(0, 2**50))
def test_a_plain_number_is_so_many_bytes(size_bytes) -> None:
    assert parse_size(str(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "after_noon_ns"),
    [
        ("2026-03-01T12:00Z", 0),
        ("2026-03-01T12:00:00Z", SECOND_NS - 1),
        ("2026-03-01T12:00:00.000000Z", 999),
        ("2026-03-01T13:00+01:00", 0),
        ("2026-03-01 13:00", 0),
        ("2026-03-01", -13 * 3600 * SECOND_NS),
        ("2h ago", -7200 * SECOND_NS),
        ("1h30m ago", -5400 * SECOND_NS),
    ],
)
def test_an_instant_is_read(berlin, text, after_noon_ns) -> None:
    assert parse_instant(text, NOON_NS) == NOON_NS + after_noon_ns


@pytest.mark.parametrize(
    "text", ["", "now", "yesterday", "12:00", "2026-13-01", "ago", "1770000000"]
)
def test_what_is_no_instant_is_refused_with_an_example(text) -> None:
    with pytest.raises(ValueError, match="such as"):
        parse_instant(text, NOON_NS)


@given(instant_ns=st.integers(0, 4 * 10**18))
def test_a_time_copied_from_a_listing_names_its_snapshot(instant_ns) -> None:
    """What a person or a program copies is cut to the second, or the microsecond; as "not after"
    it must still reach the instant that it was cut from."""
    for shown, span_ns in ((show_instant(instant_ns), SECOND_NS), (iso_instant(instant_ns), 1000)):
        read_ns = parse_instant(shown, 0)
        is_last = span_ns == 1000 and instant_ns % SECOND_NS == SECOND_NS - 1
        assert instant_ns - is_last <= read_ns < instant_ns + span_ns


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-03-29 02:30", "'2026-03-29 02:30' was left out: clocks were put forward then"),
        ("2026-10-25 02:30", r"was there twice: say which, with \+02:00 or \+01:00 behind it"),
        ("2026-10-25 02", "was there twice"),
        ("20261025T0230", "was there twice"),
    ],
)
def test_a_local_time_that_is_not_one_instant_is_refused(berlin, text, told) -> None:
    with pytest.raises(ValueError, match=told):
        parse_instant(text, 0)
    for offset, before in (("+02:00", 2), ("+01:00", 1), ("Z", 0)):
        of_zone = parse_instant(f"{text}{offset}", 0)
        assert of_zone == parse_instant(f"{text}Z", 0) - before * 3600 * SECOND_NS


def test_a_day_begins_once_also_where_clocks_are_moved_at_midnight(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "EET-2EEST,M4.5.5/0,M10.5.4/24")  # of Cairo
    time.tzset()
    for day, begins in (
        ("2026-04-24", "2026-04-23T22:00Z"),
        ("20260424", "2026-04-23T22:00Z"),
        ("2026-10-30", "2026-10-29T22:00Z"),
    ):
        assert parse_instant(day, 0) == parse_instant(begins, 0)


def test_an_instant_is_shown_in_local_time_and_in_utc(berlin) -> None:
    assert show_instant(NOON_NS) == "2026-03-01 13:00:00+01:00"
    assert iso_instant(NOON_NS + 123_456_789) == "2026-03-01T12:00:00.123456Z"
    assert iso_instant(0) == "1970-01-01T00:00:00.000000Z"


@given(instant_ns=st.integers(-(2**63), 2**63 - 1))
def test_any_instant_that_a_file_may_have_is_shown(instant_ns) -> None:
    assert show_instant(instant_ns)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_500_000, "1.4 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (2000 << 40, "2000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_fits(size, shown) -> None:
    assert show_bytes(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0ms"),
        (0.04, "40ms"),
        (0.84, "0.8s"),
        (9.4, "9.4s"),
        (42.4, "42s"),
        (59.7, "1m 00s"),
        (192, "3m 12s"),
        (3599.6, "1h 00m"),
        (18_120, "5h 02m"),
        (86_399.9, "1d 0h"),
        (1_051_200, "12d 4h"),
    ],
)
def test_seconds_are_shown_as_people_say_them(seconds, shown) -> None:
    assert show_seconds(seconds) == shown


@given(path=st.binary())
def test_a_path_never_moves_the_cursor(path) -> None:
    assert show_path(path).isprintable()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a/b ü.txt".encode(), "a/b ü.txt"),
        (b"a\nb", "a\\nb"),
        (b"\x1b[2J", "\\x1b[2J"),
        (b"\xff", "\\xff"),
        ("\u202egnp".encode(), "\\u202egnp"),
    ],
)
def test_a_path_is_shown_as_it_is_where_it_can_be(path, shown) -> None:
    assert show_path(path) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2 lines:\n\tall is well, Ärger: 日本", "2 lines:\n\tall is well, Ärger: 日本"),
        ("tree\x1b[2K\rwell", "tree\\x1b[2K\\rwell"),
        ("\x9b2J \u202egnp.exe \udcff", "\\x9b2J \\u202egnp.exe \\udcff"),
    ],
)
def test_what_others_named_moves_no_cursor_wherever_it_is_told(text, shown, capsys) -> None:
    """A thief of the writer credential could name an asset so that the word SUSPECT is not seen."""
    assert show_text(text) == shown
    Lines(sys.stderr).emit(Notice("warning", text))
    say(text)
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"{shown}\n", f"warning: {shown}\n")


def test_one_is_one_and_others_are_many() -> None:
    words = [count(number, "entry", "entries") for number in (0, 1, 2)]
    assert words == ["0 entries", "1 entry", "2 entries"]


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "GiB"])
def test_a_size_beyond_all_sense_is_refused_like_any_other(text) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    "text", ["9" * 400 + "d ago", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"]
)
def test_a_time_beyond_all_sense_is_refused_like_any_other(text) -> None:
    with pytest.raises(ValueError, match="is not a"):
        parse_instant(text, 0)


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("12:00:00Z", 0),
        ("12:00:00.25Z", 250_000_000),
        ("12:00:00.000007Z", 7_000),
        ("12:00:00.999999Z", 999_999_000),
    ],
)
def test_a_log_is_replayed_to_the_begin_of_what_was_named(text: str, begin: int) -> None:
    at_ns = parse_instant(f"2026-03-01T{text}", 0)
    assert begin_of(at_ns) % 10**9 == begin
    assert begin_of(begin_of(at_ns)) == begin_of(at_ns)
