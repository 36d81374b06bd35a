"""How far a restore goes: `--at`, `--until` and `--timeline`, as a Goal."""

from typing import Literal, cast

from drctl.engines import engine
from drctl.engines.base import Goal
from drctl.errors import UsageError
from drctl.model import Snapshot
from drctl.repository.catalog import Catalog, usable_from
from drctl.units import begin_of

_KINDS = ("lsn", "name", "transaction", "gtid")
_Kind = Literal["latest", "immediate", "time", "lsn", "name", "transaction", "gtid"]


def goal_of(picked: Snapshot, at_ns: int | None, until: str | None, timeline: str) -> Goal:
    """What a person asks for. An engine with a log goes to its end, to the time, or to the point;
    with a point, the time only picks the snapshot. Raises UsageError."""
    if not engine(picked.engine).has_log:
        if until or timeline != "latest":
            raise UsageError(f"a snapshot of the engine {picked.engine} has no log to replay")
        return Goal()
    if until is None:
        return Goal(timeline=timeline) if at_ns is None else _to_time(picked, at_ns, timeline)
    if until in {"immediate", "latest"}:
        return Goal(cast(_Kind, until), timeline=timeline)
    word, _, value = until.partition(":")
    if word not in _KINDS or not value:
        raise UsageError(
            f"--until: '{until}' is no point of a log",
            hint="give lsn:0/3000028, name:before-migration, transaction:1234, gtid:0-1-100 or "
            "immediate; for a time there is --at",
        )
    return Goal(cast(_Kind, word), value, timeline)


def _to_time(picked: Snapshot, at_ns: int, timeline: str) -> Goal:
    """To the begin of a second that was named: not a commit of that second comes back, which may be
    the mistake itself. A snapshot that was whole only within it comes back as it is."""
    begin_ns = begin_of(at_ns)
    if usable_from(picked) > begin_ns:
        return Goal("immediate", timeline=timeline)
    return Goal("time", str(begin_ns), timeline)


def named_point(found: Catalog, until: str | None) -> int | None:
    """When a group named this point, where one did: replay to it begins with a snapshot from
    before."""
    word, _, name = (until or "").partition(":")
    at = (s.facts["point_ns"] for s in found.snapshots if s.facts.get("point") == name)
    return next(map(int, at), None) if word == "name" else None


def check_delta(kind: str, *, delta: bool, paths: tuple[str, ...]) -> None:
    """Raises UsageError."""
    if delta and paths:
        raise UsageError("--delta is for all of a cluster: what is not restored is removed")
    if delta and not engine(kind).has_delta:
        raise UsageError(f"the engine {kind} writes over nothing: leave out --delta")
