"""Holds a forecast to arithmetic and to the day that it foretells; see scripts/drill-forecast."""

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drill_overhead import Place
from faked import clock
from foretold import foretold

PLAN = """\
version: 1
name: growing
objectives: {{rpo: 1d, rto: {rto:g}s}}
sites: {{main: {{failure_domain: a}}, dr: {{failure_domain: b}}}}
repositories:
  local: {{site: main, path: local}}
  offsite: {{site: dr, path: offsite, copy_of: local}}
assets:
  data: {{files: {{paths: [live]}}}}
drills:
  away: {{from: offsite}}
evidence: {{key: "file:keys/evidence.key"}}
"""
FIRST = datetime(2027, 3, 1, tzinfo=UTC)
FILE_BYTES = 1 << 20


class Growing(Place):
    """A plan whose data grows."""

    def __init__(self, top: Path, rto: float, mib: int) -> None:
        super().__init__(top)
        self._mib, self._day = mib, 0
        (top / "live").mkdir(parents=True)
        (top / "plan.yaml").write_text(PLAN.format(rto=rto))
        self.drctl("init")

    def on(self, day: int) -> None:
        """It is that day, and what came until then is there."""
        self._day = day
        for number in range((day + 1) * self._mib):
            path = self.top / "live" / f"{number:06d}"
            if not path.exists():
                half = FILE_BYTES // 2
                path.write_bytes(os.urandom(half) + b"much the same\n" * (half // 14))

    def _at(self, hour: int) -> None:
        """When each command begins, until another hour is told."""
        now = FIRST + timedelta(days=self._day, hours=hour)
        self.variables = clock(f"@{now:%Y-%m-%d %H:%M:%S}")

    def saved(self) -> int:
        """The bytes of a new backup."""
        self._at(12)
        (made,) = self.drctl("backup")["snapshots"]
        return int(made["size_bytes"])

    def rta(self) -> float:
        """The machine's seconds of a drill, whether or not it kept the objective."""
        self._at(13)
        os.sync()
        return float(self.drctl("drill", "away", codes=(0, 10))["timing"]["machine_seconds"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--mib", type=int, default=60)
    parser.add_argument("--rto", type=float, default=6.0)
    given = parser.parse_args()
    place = Growing(given.work.resolve(), given.rto, given.mib)
    drilled, sizes = [], []
    for day in range(given.days):
        place.on(day)
        drilled.append((place.saved(), place.rta()))
        sizes.append((float(day), drilled[-1][0]))
        print(
            f"day {day}: {drilled[-1][0] / 2**20:6.0f} MiB, RTA {drilled[-1][1]:5.2f} s", flush=True
        )
    (told,) = place.drctl("status", codes=(0, 10))["forecasts"]
    print("told:", told)
    due = foretold(drilled, sizes, given.rto)
    print("due: ", due)
    today = FIRST + timedelta(days=given.days - 1)
    if told["rto_breaks_on"] is None or due.breaks_in_days is None:
        return told["rto_breaks_on"] is not due.breaks_in_days
    date = (today + timedelta(days=due.breaks_in_days)).date().isoformat()
    agrees = date == told["rto_breaks_on"] and all(
        abs(told[name] - number) < 0.002
        for name, number in (
            ("expected_seconds", due.expected),
            ("low_seconds", due.low),
            ("high_seconds", due.high),
        )
    )
    print(f"arithmetic says {date}: {'the same' if agrees else 'NOT THE SAME'}", flush=True)
    return not agrees or _the_day_itself(place, drilled, sizes, due.breaks_in_days, given)


def _the_day_itself(
    place: Growing,
    drilled: list[tuple[int, float]],
    sizes: list[tuple[float, int]],
    in_days: int,
    given: argparse.Namespace,
) -> bool:
    """Whether the drill of the day on which the objective is to break lies without the interval."""
    day = given.days - 1 + in_days
    place.on(day)
    size, seconds = place.saved(), place.rta()
    due = foretold(drilled, [*sizes, (float(day), size)], given.rto)
    between = f"{due.low:.2f} to {due.high:.2f} s foretold for it"
    print(
        f"day {day}: {size / 2**20:6.0f} MiB, RTA {seconds:5.2f} s; {between}, rto {given.rto:g} s"
    )
    return not due.low <= seconds <= due.high


if __name__ == "__main__":
    sys.exit(main())
