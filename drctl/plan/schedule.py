"""When an asset is due: `every 10m`, `hourly`, `daily at 02:30`, `weekly on sunday at 03:00`."""

import re

from msgspec import Struct

from drctl.units import parse_duration

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAILY = re.compile(r"daily(?: at ([0-9]{2}):([0-9]{2}))?")
_WEEKLY = re.compile(rf"weekly(?: on ({'|'.join(DAYS)}))?(?: at ([0-9]{{2}}):([0-9]{{2}}))?")
LONGEST_SECONDS = 36500 * 86400.0
SCHEDULE_PATTERN = (
    rf"^(hourly|every .+|daily( at \d\d:\d\d)?|weekly( on ({'|'.join(DAYS)}))?( at \d\d:\d\d)?)$"
)


class Schedule(Struct, frozen=True):
    """`gap_seconds`: the longest time between two runs that are on time."""

    text: str
    gap_seconds: float


def parse_schedule(text: str) -> Schedule:
    """Raises ValueError with what is wanted."""
    plain = " ".join(text.split())
    if plain == "hourly":
        return Schedule(plain, 3600.0)
    if plain.startswith("every "):
        seconds = parse_duration(plain.removeprefix("every "))
        if not 60 <= seconds <= LONGEST_SECONDS:
            raise ValueError(f"'{text[:60]}': every 1m is the tightest, every 36500d the widest")
        return Schedule(plain, seconds)
    for pattern, days in ((_DAILY, 1), (_WEEKLY, 7)):
        found = pattern.fullmatch(plain)
        if found and _is_time(*found.groups()[-2:]):
            return Schedule(plain, days * 86400.0)
    raise ValueError(
        f"'{text}' is not a schedule such as 'every 10m', 'hourly', 'daily at 02:30' or "
        "'weekly on sunday at 03:00'"
    )


def _is_time(hour: str | None, minute: str | None) -> bool:
    return hour is None or minute is None or (int(hour) < 24 and int(minute) < 60)
