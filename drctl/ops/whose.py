"""Whether the snapshots of one asset's name are of one thing. Another plan may use the name too, or
the plan was changed: nothing is lost then, but the newest is what counts, and is restored."""

from collections.abc import Sequence

from drctl.engines import roots
from drctl.model import Snapshot


def differs(before: Snapshot, now: Snapshot) -> str:
    """How a snapshot is of another thing than the one before it; empty: it is not, as far as anyone
    can tell. A tree that was moved, or lies behind a link that was, is the same where most names
    are."""
    if before.engine != now.engine:
        return f"of the engine {now.engine}, not {before.engine}"
    told = [s.facts.get(roots.FACT, "") for s in (before, now)]
    if told[0] == told[1]:
        return ""  # nearly always: there may be thousands of them
    was, paths = ({root.digest for root in roots.parse(text)} for text in told)
    new = now.facts.get("entries_new", "")
    is_new = new.isdigit() and 2 * int(new) >= now.entries
    return "of other paths" if was and paths and not was & paths and is_new else ""


def last_break(line: Sequence[Snapshot]) -> tuple[Snapshot, Snapshot, str] | None:
    """Where the snapshots of a name, oldest first, last became those of another thing."""
    for number in range(len(line) - 1, 0, -1):
        if how := differs(line[number - 1], line[number]):
            return line[number - 1], line[number], how
    return None
