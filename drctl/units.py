"""Durations, sizes and instants: read from what people write, shown as people read them.

Everything here raises ValueError with a sentence that says what is wanted.
"""

import re
from datetime import UTC, datetime, timedelta

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_BYTES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY = {"k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
_MOST_DIGITS = 30  # of a number that anybody means; more would overflow
_AGO = re.compile(r"(.+?)\s+ago")

_SECOND_NS = 10**9
_DAY = re.compile(r"\d{4}-?(\d\d-?\d\d|W\d\d(-?\d)?)")
_SECOND = re.compile(r"\d:\d\d:\d\d([.,]\d+)?")

DURATION_PATTERN = r"^\s*(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$"
RATE_PATTERN = r"^\s*\d+(\.\d+)?\s*[kKmMgGtT]?i?[bB]?/s\s*$"
SIZE_PATTERN = r"^\s*\d+(\.\d+)?\s*[kKmMgGtT]?i?[bB]?\s*$"


def parse_duration(text: str) -> float:
    """Seconds: `90s`, `15m`, `1h30m`, `35d`, `2w`."""
    rest, seconds = text.strip(), 0.0
    if not rest:
        raise ValueError(f"'{text}' is not a duration such as 90s, 15m, 1h30m or 35d")
    while rest:
        part = _DURATION_PART.match(rest)
        if not part or len(part[1]) > _MOST_DIGITS:
            raise ValueError(f"'{text}' is not a duration such as 90s, 15m, 1h30m or 35d")
        seconds += float(part[1]) * _SECONDS[part[2]]
        rest = rest[part.end() :]
    return seconds


def parse_size(text: str) -> int:
    """Bytes: `512`, `10MiB`, `1.5 GB`, `64k`. Without the `i` the steps are of 1000."""
    found = _SIZE.fullmatch(text.strip())
    if not found or len(found[1]) > _MOST_DIGITS or (found[3] and not found[2]):
        raise ValueError(f"'{text}' is not a size such as 512k, 10MiB or 1.5GB")
    step = (_BINARY if found[3] else _BYTES)[found[2].lower()]
    return round(float(found[1]) * step)


def parse_rate(text: str) -> int:
    """Bytes a second: `50MiB/s`."""
    size, _, per = text.strip().partition("/")
    try:
        found = parse_size(size) if per == "s" else 0
    except ValueError:
        found = 0
    if found < 1:
        raise ValueError(f"'{text}' is not a rate such as 512k/s or 50MiB/s")
    return found


def parse_instant(text: str, now_ns: int) -> int:
    """Nanoseconds since 1970 of `2026-03-01T12:00:00Z`, `2026-03-01 12:00` (local time),
    `2026-03-01` (its beginning) or `2h ago`.

    Listings show seconds, and JSON microseconds: a time that was copied from there means all of
    its second, or of its microsecond, so that it names the snapshot that it was copied from. Of a
    second's last microsecond one nanosecond is missing, by which begin_of tells the two apart.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now_ns - round(parse_duration(ago[1]) * 1e9)
    try:
        named = datetime.fromisoformat(text.strip())
        both = [named.replace(fold=fold).astimezone() for fold in (0, 1)]
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"'{text}' is not a time such as 2026-03-01T12:00:00Z, '2026-03-01 12:00' or '2h ago'"
        ) from error
    elapsed = _the_one(named, both, text.strip()) - datetime(1970, 1, 1, tzinfo=UTC)
    begins_ns = (elapsed // timedelta(microseconds=1)) * 1000
    to_the_second = _SECOND.search(text)
    if not to_the_second:
        return begins_ns
    if not to_the_second[1]:
        return begins_ns + _SECOND_NS - 1
    return min(begins_ns + 999, begins_ns // _SECOND_NS * _SECOND_NS + _SECOND_NS - 2)


def _the_one(named: datetime, both: list[datetime], text: str) -> datetime:
    """Clocks that are put forward leave out an hour, and have one twice when they are put back.
    Where that is at midnight, a day still begins once."""
    if both[0] == both[1]:
        return both[0]
    is_left_out = both[0].replace(tzinfo=None) != named
    if _DAY.fullmatch(text):
        return max(both) if is_left_out else min(both)
    if is_left_out:
        raise ValueError(f"'{text}' was left out: clocks were put forward then")
    offsets = " or ".join(one.isoformat()[-6:] for one in both)
    raise ValueError(f"'{text}' was there twice: say which, with {offsets} behind it")


def begin_of(instant_ns: int) -> int:
    """The begin of the second or microsecond whose end parse_instant gave: the instant itself."""
    if instant_ns % _SECOND_NS == _SECOND_NS - 2:
        return instant_ns - 998
    for unit_ns in (_SECOND_NS, 1000):
        if instant_ns % unit_ns == unit_ns - 1:
            return instant_ns - (unit_ns - 1)
    return instant_ns


def show_bytes(size: float) -> str:
    """`1.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show_seconds(seconds: float) -> str:
    """`40ms`, `0.8s`, `42s`, `3m 12s`, `5h 02m`, `12d 4h`."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 60:
        return f"{whole}s"
    if hours < 1:
        return f"{minutes}m {whole % 60:02d}s"
    return f"{hours}h {minutes % 60:02d}m" if days < 1 else f"{days}d {hours % 24}h"


def show_instant(instant_ns: int) -> str:
    """In local time with its offset, to the second: `2026-03-01 12:00:00+01:00`."""
    try:
        whole = datetime.fromtimestamp(instant_ns // 10**9, tz=UTC).astimezone()
    except (OverflowError, ValueError, OSError):  # beyond the year 9999, which a file may be
        return f"{instant_ns // 10**9} s after 1970"
    return whole.isoformat(sep=" ", timespec="seconds")


def iso_instant(instant_ns: int) -> str:
    """In UTC for machines: `2026-03-01T11:00:00.123456Z`."""
    instant = datetime.fromtimestamp(instant_ns // 10**9, tz=UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant_ns % 10**9 // 1000:06d}Z"


def show_path(path: bytes) -> str:
    """A path for people: what is not UTF-8, or would move the cursor, is escaped."""
    return show_line(path.decode("utf-8", "backslashreplace"))


def show_line(text: str) -> str:
    """The same for a name that others gave, or what a person wrote: in one line."""
    return "".join(map(_shown, text))


def show_text(text: str) -> str:
    """Lines for people, of which others wrote some: names in a snapshot, or a config, must not move
    the cursor over what else is told."""
    return _ODD.sub(lambda found: _shown(found[0]), text)


_ODD = re.compile(r"[^\n\t -~]")


def _shown(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


_ESCAPE = re.compile(
    r"\\(?:x([0-9a-f]{2})|u(?!d[89a-f])([0-9a-f]{4})|U(00(?:0[0-9a-f]|10)[0-9a-f]{4})|([tnr]))"
)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r"}


def shown_paths(text: bytes) -> tuple[bytes, ...]:
    """The paths that `show_path` may have shown so, the text itself first: a byte that is no UTF-8
    and a character of the same number look alike."""
    typed = text.decode("utf-8", "surrogateescape")

    def as_byte(found: re.Match[str]) -> str:
        if not found[1]:
            return as_character(found)
        return bytes.fromhex(found[1]).decode("utf-8", "surrogateescape")

    def as_character(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else _LETTERS[found[4]]

    meant = (typed, _ESCAPE.sub(as_byte, typed), _ESCAPE.sub(as_character, typed))
    return tuple(dict.fromkeys(path.encode("utf-8", "surrogateescape") for path in meant))


def count(number: int, one: str, many: str) -> str:
    """`1 entry`, `2 entries`."""
    return f"{number} {one if number == 1 else many}"
