"""What the next recovery takes, foretold from real drills of data that grows from day to day."""

import os
from datetime import UTC, datetime, timedelta

from faked import clock
from foretold import foretold

PLAN = """\
version: 1
name: growing
objectives: {rpo: 1d, rto: 1m}
sites: {here: {failure_domain: a}}
repositories: {local: {site: here, path: local}}
assets:
  data: {files: {paths: [live/data]}}
drills: {near: {}}
"""
FIRST = datetime(2027, 3, 1, 12, tzinfo=UTC)
A_DAY = 16 << 20


def test_the_forecast_of_real_drills_is_what_arithmetic_says(bare) -> None:
    bare.plan(PLAN)
    (bare.top / "live/data").mkdir()
    drilled, sizes = [], []
    for day in range(4):
        (bare.top / f"live/data/{day}").write_bytes(os.urandom(A_DAY))
        now = FIRST + timedelta(days=day)
        bare.variables |= clock(f"@{now:%Y-%m-%d %H:%M:%S}")  # when each command begins
        if not day:
            bare.run("init")
        (made,) = bare.json("backup")["snapshots"]
        bare.variables |= clock(f"@{now:%Y-%m-%d} 13:00:00")
        found = bare.json("drill", "near")
        drilled.append((made["size_bytes"], found["timing"]["machine_seconds"]))
        sizes.append((day, made["size_bytes"]))
    assert made["size_bytes"] >= 4 * A_DAY

    (told,) = bare.json("status")["forecasts"]
    due = foretold(drilled, sizes, 60.0)
    assert (told["drills"], told["size_bytes"], told["rto_seconds"]) == (4, sizes[-1][1], 60.0)
    assert abs(told["expected_seconds"] - due.expected) < 0.002
    assert abs(told["low_seconds"] - due.low) < 0.002 + due.low / 1000
    assert abs(told["high_seconds"] - due.high) < 0.002 + due.high / 1000
    if due.breaks_in_days is None:  # what else this machine did hid how time grows
        assert told["rto_breaks_on"] is None
        return
    breaks = datetime.fromisoformat(told["rto_breaks_on"]).replace(tzinfo=UTC, hour=12)
    assert abs((breaks - now).days - due.breaks_in_days) <= 1  # a snapshot is made within a second
