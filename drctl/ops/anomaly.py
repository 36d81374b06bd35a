"""Is a run far from what its asset's runs are like? Ransomware and mass deletion look like that.

A run is compared with the last good snapshots by what their manifests tell. It is out of the
ordinary only where all three hold: it is beyond a floor, beyond the median by six deviations (MAD,
scaled), and beyond everything that the history has seen; what happened before is not flagged.
After a flagged run every further one is flagged, until somebody says that it is as expected: what
an attacker left must not become the new ordinary by standing there for some days. One that is back
at what the last good one was, and for which hardly anything had to be stored since, holds what that
one held: it is not flagged. Each flagged one carries what that takes to tell, so that nothing hangs
on which of those before it are still there: rules and people remove them.

A run that holds nothing is flagged whatever the history, and so is one of whose paths one is empty
that was not, or that was on a disk of its own: a disk that is not mounted looks like that.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from drctl.engines import roots
from drctl.model import Snapshot
from drctl.ops.intake import Tally
from drctl.units import show_bytes

HISTORY = 20  # good snapshots that are looked at
LEAST_HISTORY = 5  # with fewer nobody knows what is ordinary
ANOMALY, ACCEPTED, SINCE = "anomaly", "anomaly_accepted", "since_good"
UNJUDGED = "unjudged"  # the others could not be read: its run's memory was of the one that it names

_DEVIATIONS = 6 * 1.4826  # the factor makes a MAD comparable with a standard deviation
_SHRUNK, _GROWN = 0.3, 1.0  # of what was there before
_REMOVED, _CHANGED, _ADDED = 0.3, 0.5, 0.5  # of the entries; of the entries; of the size
_INCOMPRESSIBLE, _MARGIN = 0.85, 0.3  # stored for each byte read; above all that was seen
_LEAST_READ_BYTES, _LEAST_READ = 1 << 20, 0.1  # less tells nothing of how it compresses
_BACK = 0.1  # so near to the last good one
_FEW = 8  # entries: among so few a share means nothing


class Run(Struct, frozen=True):
    """What a manifest and its facts tell of a run. `known` is False for one that remembered nothing
    of the run before, so that all entries were new to it."""

    entries: int
    size_bytes: int
    added_bytes: int
    read_bytes: int
    new: int
    changed: int
    removed: int
    known: bool
    things: int | None = None  # entries that are no directories; None: it did not tell


class Past(Struct, frozen=True):
    """The ones before a run, oldest first, removed ones among them where they matter. `lost`: the
    name of the one that the run's memory is of, where that is gone, and newer than all the rest."""

    snapshots: Sequence[Snapshot]
    lost: str = ""


class Since(Struct, frozen=True):
    """The last good one, as it was when the first after it was flagged, and what was stored since
    in the place of what was there."""

    good: str
    entries: int
    size_bytes: int
    stored_bytes: int

    def tell(self) -> str:
        return f"{self.good} {self.entries} {self.size_bytes} {self.stored_bytes}"


def measured(tally: Tally, before: Snapshot | None) -> dict[str, str]:
    """What a manifest tells of its run, for later ones. `before`: the asset's newest snapshot."""
    kept = tally.unchanged + tally.changed
    removed = max(before.entries - kept, 0) if before and kept else 0
    told = {
        "things": tally.things,
        "entries_new": tally.new,
        "entries_changed": tally.changed,
        "entries_removed": removed,
        "read_bytes": tally.read_bytes,
    }
    return {key: str(value) for key, value in told.items()}


def run_of(snapshot: Snapshot) -> Run:
    """Of a snapshot that told less, what it told."""

    def number(key: str) -> int:
        text = snapshot.facts.get(key, "")
        return int(text) if text.isdigit() else 0

    new = number("entries_new")
    known = "entries_new" in snapshot.facts and new < snapshot.entries
    return Run(
        snapshot.entries,
        snapshot.size_bytes,
        snapshot.added_bytes,
        number("read_bytes"),
        new,
        number("entries_changed"),
        number("entries_removed"),
        known,
        number("things") if "things" in snapshot.facts else None,
    )


def judged_late(past: Past) -> Past:
    """With each that nobody could judge when it was made as it would have been told then."""
    there = {one.name for one in past.snapshots}
    found: list[Snapshot] = []
    for one in past.snapshots:
        before = one.facts.get(UNJUDGED)
        lost = before if before and before not in there else ""
        found.append(one if before is None else _judged_late(one, Past(found, lost)))
    return Past(found, past.lost)


def _judged_late(one: Snapshot, past: Past) -> Snapshot:
    facts = {k: v for k, v in one.facts.items() if k not in {ANOMALY, UNJUDGED}}
    same, run = _same(one, past), run_of(one)
    if same and run.known:  # it could not tell what was gone: that takes the one before
        removed = max(same[-1].entries - (run.entries - run.new), 0)
        facts["entries_removed"] = str(removed)
    bare = replace(one, facts=facts)
    odd = judge(bare, past)
    return replace(bare, facts={**facts, ANOMALY: odd, **carried(bare, past)}) if odd else bare


def judge(made: Snapshot, past: Past) -> str:
    """What is out of the ordinary about a new snapshot, in a sentence; empty: nothing."""
    same = _same(made, past)
    good = [s for s in same if not s.suspect][-HISTORY:]
    if other := _of_another_server(made, past):
        return other
    if _is_empty(run_of(made)):
        return "" if good and _is_empty(run_of(good[-1])) else _emptied(good)
    unmounted = _unmounted(made, good)
    if unmounted:
        return unmounted
    if same and same[-1].facts.get(ANOMALY):
        return "" if _is_back(made, _since(made, past)) else _still(same[-1])
    if good and past.lost:
        return _unknown(past.lost, good[-1])
    known = [run_of(s) for s in good]
    run = run_of(made)
    if past.snapshots and _server(past.snapshots[-1]) != _server(made):
        run = replace(run, known=False)  # it remembered another server's
    return "; ".join(_findings(run, known)) if len(good) >= LEAST_HISTORY else ""


def carried(made: Snapshot, past: Past) -> dict[str, str]:
    """What a flagged one tells for later ones."""
    since = _since(made, past)
    return {SINCE: since.tell()} if since else {}


def _same(made: Snapshot, past: Past) -> list[Snapshot]:
    return [s for s in past.snapshots if s.engine == made.engine and _server(s) == _server(made)]


def _server(snapshot: Snapshot) -> str:
    """What a cluster has for ever, also one that was restored."""
    return snapshot.facts.get("system_id", "")


def _of_another_server(made: Snapshot, past: Past) -> str:
    """A wrong port, or a cluster that was made anew. One of a newer version is what pg_upgrade
    makes, or loading a dump."""
    good = [s for s in past.snapshots if s.engine == made.engine and not s.suspect]
    if not good or not _server(good[-1]) or _server(made) in ("", _server(good[-1])):
        return ""
    if 0 < _major(good[-1]) < _major(made):
        return ""
    return (
        f"it is of another cluster, with system identifier {_server(made)}: {good[-1].short} is of "
        f"{_server(good[-1])}: another server answers, or it was made anew"
    )


def _major(snapshot: Snapshot) -> int:
    told = snapshot.facts.get("postgresql", "")
    return int(told) // 10000 if told.isdigit() else 0


def _is_empty(run: Run) -> bool:
    return run.things == 0


def _emptied(good: Sequence[Snapshot]) -> str:
    was = f"; {good[-1].short} held {show_bytes(good[-1].size_bytes)}" if good else ""
    return f"it holds nothing{was}: a disk may not be mounted, or an exclude hides all"


def _unmounted(made: Snapshot, good: Sequence[Snapshot]) -> str:
    if not good:
        return ""
    before = good[-1]
    lost = list(roots.lost(before.facts.get(roots.FACT, ""), made.facts.get(roots.FACT, "")))
    if not lost:
        return ""
    return f"{'; '.join(lost)}, unlike in {before.short}: a disk may not be mounted"


def _unknown(lost: str, good: Snapshot) -> str:
    return (
        f"the snapshot before it, {lost[:8]}, was removed, so nobody can tell what changed since "
        f"{good.short}"
    )


def _since(made: Snapshot, past: Past) -> Since | None:
    """None: nobody can tell. One that was flagged by an older drctl does not say what was stored
    before it, and what was is not to be summed up from those that happen to be there."""
    same = _same(made, past)
    if not same or past.lost:
        return None
    last = same[-1]
    told = _told(last)
    if told is None:
        return None
    stored = _rewritten(run_of(last), run_of(made))
    return replace(told, stored_bytes=told.stored_bytes + stored)


def _told(last: Snapshot) -> Since | None:
    if not last.facts.get(ANOMALY):
        return Since(last.short, last.entries, last.size_bytes, 0)
    good, *numbers = last.facts.get(SINCE, "").split(" ")
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        return None
    return Since(good, *map(int, numbers))


def _is_back(made: Snapshot, since: Since | None) -> bool:
    """Whether it holds what the last good one held, but for a tenth: as many entries, as large, and
    what was stored since, beside what made it larger for a while, is not enough for more. A run
    that touched many entries may have grown to hide what it wrote over."""
    if since is None:
        return False
    levels = ((since.entries, made.entries), (since.size_bytes, made.size_bytes))
    if any(abs(_step(was, now)) > _BACK for was, now in levels):
        return False
    return since.stored_bytes <= _BACK * since.size_bytes


def _rewritten(before: Run, run: Run) -> int:
    """What a run stored in the place of what was there."""
    touched = run.changed + run.removed
    is_growth = _share(touched, before.entries) < _REMOVED
    grown = max(run.size_bytes - before.size_bytes, 0) if is_growth else 0
    return max(run.added_bytes - grown, 0)


def _still(flagged: Snapshot) -> str:
    return f"since {_origin(flagged)} nobody has accepted: {_reason(flagged)}"


def _origin(flagged: Snapshot) -> str:
    words = flagged.facts[ANOMALY].split(" ", 2)
    return words[1] if words[0] == "since" else flagged.short


def _reason(flagged: Snapshot) -> str:
    return flagged.facts[ANOMALY].rpartition("accepted: ")[2]


def _findings(run: Run, history: list[Run]) -> Iterable[str]:
    known = [old for old in history if old.known]
    yield from _levels(run, history)
    if run.known and len(known) >= LEAST_HISTORY - 1:  # the first run of all remembers nothing
        yield from _shares(run, known, history[-1].entries)
    yield from _compressing(run, history)


def _levels(run: Run, history: list[Run]) -> Iterable[str]:
    """Against the run before, since what grows a little each day is not ordinary by its median."""
    last = history[-1]
    sizes = [old.size_bytes for old in history]
    steps = _steps(sizes)
    grown = _step(last.size_bytes, run.size_bytes)
    was = f"{show_bytes(last.size_bytes)} became {show_bytes(run.size_bytes)}"
    if _is_far(grown, _GROWN, steps) and run.size_bytes > max(sizes):
        yield f"its size jumped: {was}"
    if _is_far(-grown, _SHRUNK, [-step for step in steps]) and run.size_bytes < min(sizes):
        yield f"its size fell: {was}"


def _shares(run: Run, known: list[Run], before: int) -> Iterable[str]:
    """Of few entries each is a large share: for these only the size of what was stored counts."""
    removed = [_share(old.removed, old.entries + old.removed) for old in known]
    changed = [_share(old.changed + old.new, old.entries) for old in known]
    added = [_share(old.added_bytes, old.size_bytes) for old in known]
    if before >= _FEW and _is_far(_share(run.removed, before), _REMOVED, removed):
        yield f"{run.removed} of {before} entries are gone"
    touched = run.changed + run.new
    if run.entries >= _FEW and _is_far(_share(touched, run.entries), _CHANGED, changed):
        yield f"{touched} of {run.entries} entries are new or changed"
    is_much = run.added_bytes >= _LEAST_READ_BYTES
    if is_much and _is_far(_share(run.added_bytes, run.size_bytes), _ADDED, added):
        yield f"{show_bytes(run.added_bytes)} of {show_bytes(run.size_bytes)} had to be stored anew"


def _compressing(run: Run, history: list[Run]) -> Iterable[str]:
    """What is encrypted does not compress. Only a run that read enough tells anything."""
    seen = [_share(o.added_bytes, o.read_bytes) for o in history if _tells(o)]
    now = _share(run.added_bytes, run.read_bytes)
    enough = _tells(run) and run.read_bytes >= _LEAST_READ * run.size_bytes
    if seen and enough and now >= _INCOMPRESSIBLE and now > max(seen) + _MARGIN:
        yield f"what was read no longer compresses (to {now:.0%}, it was {median(seen):.0%})"


def _tells(run: Run) -> bool:
    return run.read_bytes >= _LEAST_READ_BYTES


def _is_far(value: float, floor: float, seen: Sequence[float]) -> bool:
    middle = median(seen)
    spread = median(abs(one - middle) for one in seen)
    return value >= floor and value > middle + _DEVIATIONS * spread and value > max(seen)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _step(before: int, after: int) -> float:
    """What share of it came; negative: went."""
    return (after - before) / max(before, 1)


def _steps(levels: Sequence[int]) -> list[float]:
    return [_step(a, b) for a, b in pairwise(levels)]
