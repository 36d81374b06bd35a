"""A time zone that a server told, as the system's own file."""

import io
import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from drctl.engines.mariadb_zone import zone_file


def test_a_zone_is_what_was_told_at_each_second() -> None:
    told = [(0, 3600), (228877200, 7200), (243997200, 3600), (1774746000, 7200)]
    zone = ZoneInfo.from_file(io.BytesIO(zone_file(json.dumps(told))))
    for since, offset in told[1:]:
        at = datetime.fromtimestamp(since, UTC).astimezone(zone)
        assert at.utcoffset().total_seconds() == offset
    at = datetime.fromtimestamp(228877199, UTC).astimezone(zone)
    assert at.utcoffset().total_seconds() == 3600
