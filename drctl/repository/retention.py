"""Which snapshots stay, and why: pure, so that a dry run says exactly what a run does.

A rule is applied to each asset of each host alone (two hosts may save different things under one
name, and the one that saves more often must not push the other's out), twice: to all of its
snapshots, and to the good ones, which are whole, not suspect and not of a time to come, as if the
others did not exist. What either wants stays; so no partial or suspect snapshot, and none of a host
whose clock was ahead, ever pushes out a good one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct, field

from drctl.model import Snapshot

NEWEST, NO_RULE = "newest", "no rule"
CLOCKS_DIFFER_NS = 15 * 60 * 10**9  # without anybody's noticing: S3 refuses more


class Rule(Struct, frozen=True):
    """How many periods of each kind keep their newest snapshot. Periods are of UTC, so that every
    site sees the same ones; `within_seconds` counts back from the asset's newest snapshot, so that
    nothing more goes when backups cease."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within_seconds: float = 0.0
    tags: frozenset[str] = frozenset()


class Verdict(Struct):
    """Why a snapshot stays. No reason: it goes."""

    snapshot: Snapshot
    reasons: list[str] = field(default_factory=list)

    @property
    def stays(self) -> bool:
        return bool(self.reasons)


def judge(
    snapshots: Iterable[Snapshot],
    rule: Rule | None,
    held: Mapping[str, str],
    seen_ns: int | None = None,
) -> list[Verdict]:
    """A verdict for each, oldest first. `held`: name -> why somebody holds it; `rule` None: every
    snapshot stays; `seen_ns`: an instant that has come, by the storage's clock."""
    verdicts = {s.name: Verdict(s) for s in sorted(snapshots, key=_age)}
    for of_one in _of_each(verdicts.values()):
        newest_first = of_one[::-1]
        good = [s for s in newest_first if is_good(s) and not _is_to_come(s, seen_ns)]
        _note(verdicts, newest_first, rule, "")
        if len(good) < len(newest_first):
            _note(verdicts, good, rule, " of the good")
    for name in held.keys() & verdicts.keys():
        verdicts[name].reasons.append(f"held: {held[name]}" if held[name] else "held")
    return list(verdicts.values())


def _of_each(verdicts: Iterable[Verdict]) -> Iterable[list[Snapshot]]:
    """The snapshots of each asset of each host, in the order given."""
    found: dict[tuple[str, str], list[Snapshot]] = {}
    for verdict in verdicts:
        s = verdict.snapshot
        found.setdefault((s.asset, s.host), []).append(s)
    return found.values()


def is_good(snapshot: Snapshot) -> bool:
    """Whether it is whole, and nothing about it is out of the ordinary."""
    return snapshot.status == "complete" and not snapshot.suspect


def _is_to_come(snapshot: Snapshot, seen_ns: int | None) -> bool:
    """Whether the clock of the host that made it was ahead."""
    return seen_ns is not None and snapshot.consistent_at_ns > seen_ns + CLOCKS_DIFFER_NS


def _age(s: Snapshot) -> tuple[int, int, str]:
    return s.consistent_at_ns, s.finished_at_ns, s.name


def _note(
    verdicts: Mapping[str, Verdict], newest_first: Sequence[Snapshot], rule: Rule | None, of: str
) -> None:
    """Add every reason; the ones that were found before are not repeated."""

    def stays(snapshot: Snapshot, why: str) -> None:
        reasons = verdicts[snapshot.name].reasons
        if why not in reasons and why + of not in reasons:
            reasons.append(why + of)

    if newest_first:
        stays(newest_first[0], NEWEST)
    if rule is None:
        for snapshot in newest_first:
            stays(snapshot, NO_RULE)
        return
    for place, snapshot in enumerate(newest_first[: rule.last], 1):
        stays(snapshot, f"last {place}")
    for kind, count, period in _periods(rule):
        _note_periods(newest_first, count, period, kind, stays)
    for snapshot in newest_first:
        for why in _own_reasons(snapshot, rule, newest_first[0].consistent_at_ns):
            stays(snapshot, why)


def _own_reasons(snapshot: Snapshot, rule: Rule, newest_ns: int) -> Iterator[str]:
    if newest_ns - snapshot.consistent_at_ns < rule.within_seconds * 1e9:
        yield "within"
    for tag in sorted(rule.tags.intersection(snapshot.tags)):
        yield f"tag {tag}"


def _note_periods(
    newest_first: Sequence[Snapshot],
    count: int,
    period: str,
    kind: str,
    stays: Callable[[Snapshot, str], None],
) -> None:
    """The newest of each period that has one, for the newest `count` such periods."""
    seen: set[str] = set()
    for snapshot in newest_first:
        if len(seen) == count:
            return
        name = _instant(snapshot.consistent_at_ns).strftime(period)
        if name not in seen:
            seen.add(name)
            stays(snapshot, f"{kind} {name}")


def _periods(rule: Rule) -> tuple[tuple[str, int, str], ...]:
    return (
        ("hourly", rule.hourly, "%Y-%m-%d %Hh"),
        ("daily", rule.daily, "%Y-%m-%d"),
        ("weekly", rule.weekly, "%G-W%V"),
        ("monthly", rule.monthly, "%Y-%m"),
        ("yearly", rule.yearly, "%Y"),
    )


def _instant(instant_ns: int) -> datetime:
    return datetime.fromtimestamp(instant_ns // 10**9, tz=UTC)
