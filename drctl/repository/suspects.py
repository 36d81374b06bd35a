"""Which snapshot is meant by an asset's name where some are suspect: the last good one. Status, a
restore, a recovery and a drill all go by this, and whoever is given another than the newest, or a
suspect one, is told so."""

from collections.abc import Sequence

from drctl.model import Snapshot
from drctl.units import count, show_instant


def newest(found: Sequence[Snapshot]) -> Snapshot:
    """The last good one; else the last with sound pages; else the last. `found`: not empty, oldest
    first. One with corrupt pages never stands in front of a sound one, whose log leads to the same
    instant without the corruption."""
    good = [s for s in found if not s.suspect]
    sound = [s for s in found if s.facts.get("corrupt_pages", "0") == "0"]
    return (good or sound or found)[-1]


def passed_over(picked: Snapshot, among: Sequence[Snapshot]) -> list[Snapshot]:
    """The suspect ones that are newer. `among`: its line, oldest first."""
    place = next((n for n, s in enumerate(among, 1) if s.name == picked.name), len(among))
    return [s for s in among[place:] if s.suspect]


def doubt(picked: Snapshot, among: Sequence[Snapshot], other: str) -> str:
    """What to tell with a snapshot that stands for its asset; empty: nothing. `other`: how the
    newest is had instead, `{}` its id."""
    over = passed_over(picked, among)
    if picked.suspect or not over:
        return ""
    last = over[-1]
    more = f", as {count(len(over) - 1, 'is', 'are')} before it" if len(over) > 1 else ""
    return (
        f"{picked.asset}: the newest, {_shown(last)}, is SUSPECT{more}: {last.suspect}. The last "
        f"good one is taken, {_shown(picked)}{_log(picked, last)}; {other.format(last.short)}"
    )


def warning(picked: Snapshot, among: Sequence[Snapshot]) -> str:
    """What to tell with one that is suspect itself; empty: it is not."""
    if not picked.suspect:
        return ""
    good = [s for s in among if not s.suspect]
    last = f"the last good one is {_shown(good[-1])}" if good else "there is no good one here"
    return f"{picked.asset}: {_shown(picked)} is SUSPECT: {picked.suspect}; {last}"


def _log(picked: Snapshot, last: Snapshot) -> str:
    stream = picked.facts.get("log_stream")
    leads_past = stream and stream == last.facts.get("log_stream")
    return ", whose log leads past the suspect one: --at stops before" if leads_past else ""


def _shown(s: Snapshot) -> str:
    return f"{s.short} of {show_instant(s.consistent_at_ns)}"
