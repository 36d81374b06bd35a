"""How things stand: objectives, copies, drills, and what is to be done."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import combinations
from typing import Any

import click
from msgspec import Struct

from drctl.cli.context import Context, output_options, pass_context
from drctl.cli.forecasts import forecast_document, forecast_lines, forecasts
from drctl.cli.gate import Known, gather, judge
from drctl.cli.proofs import Proofs
from drctl.cli.standing import Stand, rounded, stand, stand_document
from drctl.errors import ExitCode, KeyUnavailable, StorageError
from drctl.logpieces import APART
from drctl.ops.anomaly import ANOMALY, UNJUDGED
from drctl.ops.status import Lag, Seen, Standing, lost_at
from drctl.plan.model import engine_of
from drctl.report.evidence import chain_faults
from drctl.report.forecast import Forecast
from drctl.report.readiness import Gate
from drctl.report.signers import Keys, Trust
from drctl.report.status import (
    Todo,
    drill_line,
    lag_line,
    show_age,
    standing_table,
    todo_lines,
)
from drctl.stores import LAPSED_HINT
from drctl.units import count, show_seconds
from drctl.wiring import Wiring


class _Found(Struct, frozen=True):
    seen: list[Seen]
    standings: list[Standing]
    lags: list[Lag]
    drills: list[Gate]
    drill_every: bool  # how often to drill is an objective of the plan
    evidence: list[str]  # what is wrong with it
    forecasts: dict[str, Forecast]
    now_ns: int
    host: str  # this one
    lost: list[Todo]  # what a copy has and the first repository has lost
    unsafe: list[Todo]  # locks that the plan lost, copies that are none
    foreign: list[Todo]  # what was saved under a name, and is not what the plan calls so


@click.command()
@output_options
@pass_context
def command(context: Context) -> int:
    """Show for each asset and repository how old its newest recovery point is against the
    objective, how far copies are behind, when drills were, and what is to be done.

    Needs the writer credential only. Exit code 10 when an objective is missed or nobody can tell, a
    log has a gap, an asset has no snapshot, the last drill failed or evidence is not whole, 11 when
    a repository cannot be asked, the plan lost its lock or a newest snapshot is SUSPECT, 5 when
    none can, 6 when one does not read, or one or a key is lost.
    """
    wiring, pool = context.wiring(), context.pool()
    found = _look(wiring, pool)
    context.result(_document(found), _text(found))
    return _code(found)


def _look(wiring: Wiring, pool: ThreadPoolExecutor) -> _Found:
    plan = wiring.loaded.plan
    found = stand(wiring, pool)
    reached = [one.name for one in found.seen if not one.trouble]
    every = plan.objectives.drill_every
    known = gather(wiring, reached) if plan.drills else Known([], [], {})
    keys, why = _keys(wiring) if plan.drills else (Keys(None), [])
    trust = Trust(keys, known.proofs)
    wrong = [*why, *_wrong_evidence(known, trust, whole=len(reached) == len(found.seen))]
    return _Found(
        found.seen,
        found.standings,
        found.lags,
        judge(wiring, keys, tuple(plan.drills), known.proofs, every),
        every is not None,
        wrong,
        forecasts(wiring, found.seen, trust.good(known.proofs)),
        wiring.clock.now_ns(),
        wiring.loaded.host,
        list(_lost(wiring, found.seen)),
        [*_lapsed(wiring), *_no_copies(wiring)],
        list(_foreign(wiring, found.standings)),
    )


def _lapsed(wiring: Wiring) -> Iterator[Todo]:
    for name, what in wiring.lapsed().items():
        yield what, LAPSED_HINT.format(name)


def _no_copies(wiring: Wiring) -> Iterator[Todo]:
    """Directories that a link or a mount makes one. Of buckets a backup finds it out, and says so:
    it puts a sign there."""
    parts = wiring.loaded.plan.repositories.items()
    paths = {name: os.path.join(wiring.loaded.base, part.path) for name, part in parts if part.path}
    for one, other in combinations(paths, 2):
        with suppress(OSError):  # whoever reads them tells what is wrong there
            if os.path.samefile(paths[one], paths[other]):
                told = f"{other} is the same place as {one}: what lies there lies there once"
                yield told, "give each repository of the plan a place of its own, then: drctl init"


def _foreign(wiring: Wiring, standings: Sequence[Standing]) -> Iterator[Todo]:
    """Of what the plan calls so nothing was saved, whatever was before the plan was changed."""
    for s in standings:
        if s.repository == wiring.primary() and s.newest:
            kind, _ = engine_of(wiring.loaded.plan.assets[s.asset])
            if s.newest.engine != kind:
                told = f"its newest snapshot is of the engine {s.newest.engine}"
                yield f"{s.asset} was never saved as {kind}: {told}", f"drctl backup {s.asset}"


def _keys(wiring: Wiring) -> tuple[Keys, list[str]]:
    """What evidence is verified with, and why that is not to be had: all else is told without."""
    try:
        return Proofs(wiring).keys(), []
    except KeyUnavailable as error:
        return Keys(None), [f"the evidence of drills cannot be verified: {error.what}"]


def _wrong_evidence(known: Known, trust: Trust, *, whole: bool) -> Iterator[str]:
    """What is missing may lie where nobody could ask: unless it was looked for on the `whole`."""
    yield from known.wrong
    for name, why in known.silent.items():
        yield f"the evidence in {name} cannot be read: {why}"
    if whole and not known.silent:
        yield from chain_faults(known.proofs)
    yield from trust.faults(known.proofs)


def _lost(wiring: Wiring, seen: Sequence[Seen]) -> Iterator[Todo]:
    primary = next(one for one in seen if one.name == wiring.primary())
    for copy in seen:
        lost = lost_at(primary, copy, wiring.rule(primary.name))
        if lost:
            told = (
                f"{primary.name} has lost {count(lost, 'snapshot', 'snapshots')} that {copy.name}"
            )
            yield f"{told} has", f"drctl replicate --from {copy.name} --to {primary.name}"


def _code(found: _Found) -> int:
    unreached = [one for one in found.seen if one.trouble]
    if len(unreached) == len(found.seen):
        return StorageError.exit_code
    if found.lost or any(one.found.damaged or one.wrong for one in found.seen):
        return ExitCode.INTEGRITY
    gone = {one.name for one in unreached}
    told = [s for s in found.standings if s.repository not in gone]
    missed = any(s.verdict in {"missed", "unknown"} or s.gap or _apart(s) for s in told)
    missed = missed or bool(found.foreign)
    if missed or _never_saved(found) or _drills_missed(found) or found.evidence:
        return ExitCode.OBJECTIVE_MISSED
    suspect = any(s.newest and s.newest.suspect for s in told)
    return ExitCode.PARTIAL if unreached or found.unsafe or suspect else ExitCode.DONE


def _drills_missed(found: _Found) -> list[Gate]:
    """One that failed shows that recovery does not work, however often the plan wants it tried."""
    due = {"overdue", "failed", "never verified"} if found.drill_every else {"failed"}
    return [g for g in found.drills if g.readiness in due]


def _never_saved(found: _Found) -> list[Standing]:
    """Nothing of these could be brought back: no objective is needed to say that that is wrong.
    What a copy lacks its lag tells."""
    asked = {one.name for one in found.seen if one.original is None and not one.trouble}
    return [s for s in found.standings if s.repository in asked and s.newest is None]


# -- text -----------------------------------------------------------------------------------------


def _text(found: _Found) -> str:
    rows = [
        (s.verdict, s.asset, s.repository, show_age(s.age_seconds), _allowed(s), _remark(s, found))
        for s in found.standings
    ]
    lines = [standing_table(rows), ""]
    lines += [lag_line(g.repository, g.seconds, g.objects, g.size_bytes) for g in found.lags]
    lines += [drill_line(g.drill, _told(g, found), g.age_seconds) for g in found.drills]
    for name, told in found.forecasts.items():
        lines += forecast_lines(name, told, found.now_ns)
    return "\n".join([*lines, *todo_lines(list(_todos(found)))])


def _told(g: Gate, found: _Found) -> str:
    if g.newest and found.evidence:
        return f"{g.readiness}, by evidence that is in doubt"
    is_signed = g.newest is None or g.newest.keyids
    return g.readiness if is_signed else f"{g.readiness}, by evidence that nobody signed"


def _allowed(s: Standing) -> str:
    return "-" if s.rpo_seconds is None else show_seconds(s.rpo_seconds)


def _remark(s: Standing, found: _Found) -> str:
    trouble = next(one.trouble for one in found.seen if one.name == s.repository)
    partial_ = "partial" if s.newest and s.newest.problems else ""
    suspect = f"{len(s.suspects)} SUSPECT" if s.suspects else ""
    gap = "GAP in the log" if s.gap else "NO LOG that continues it" if _apart(s) else ""
    empty = "" if s.newest or trouble else "no snapshot"
    words = (
        "no answer" if trouble else "",
        empty,
        _hosts(s, found.host),
        "log" if s.by == "log" else "",
        partial_,
    )
    return " ".join(w for w in (*words, gap, suspect) if w)


def _apart(s: Standing) -> str:
    """Of the newest: why the log that is stored of its server does not continue it."""
    return s.newest.facts.get(APART, "") if s.newest else ""


def _hosts(s: Standing, host: str) -> str:
    """Whose it is, where that is not plain."""
    of = f"of {s.newest.host}" if s.newest and s.newest.host != host else ""
    also = f"beside {', '.join(s.others)}" if len(s.others) < 3 else f"beside {len(s.others)} hosts"
    return " ".join(w for w in (of, also if s.others else "") if w)


def _whose(s: Standing) -> str:
    return f"{s.asset} of this host" if s.others else s.asset


def _todos(found: _Found) -> Iterator[Todo]:
    primary = next(one for one in found.seen if one.original is None)
    for one in found.seen:
        if one.trouble:
            mend = (
                f"verify --repair --from {one.name}"
                if one.is_damaged
                else f"storage check {one.name}"
            )
            yield f"{one.name} cannot be asked: {one.trouble}", f"drctl {mend}"
        for damage in one.found.damaged:
            yield damage, f"drctl verify --from {one.name}"
        for lost in one.wrong:
            yield lost, f"drctl verify --repair --from {one.name}"
    yield from (*found.unsafe, *found.lost, *found.foreign)
    for s in found.standings:
        yield from _todo(s, primary.name, found.seen)
    for s in (s for s in _never_saved(found) if s.verdict == "none"):
        yield f"{_whose(s)} has no snapshot in {s.repository}", f"drctl backup {s.asset}"
    for lag in found.lags:
        if lag.is_behind:
            yield f"{lag.repository} is behind {lag.original}", "drctl replicate"
    yield from ((what, "drctl report list") for what in found.evidence)
    for g in _drills_missed(found):
        yield f"drill {g.drill}: {g.readiness}", f"drctl drill {g.drill}"


def _todo(s: Standing, primary: str, seen: Sequence[Seen]) -> Iterator[Todo]:
    if s.newest and s.newest.suspect:
        yield f"{s.asset} is suspect: {s.newest.suspect}", _cure(s.asset, s.newest.facts)
    elif s.verdict == "unknown" and not any(o.name == s.repository and o.trouble for o in seen):
        yield (
            f"{s.asset}: {s.why}",
            f"date; timedatectl; when the clock is right: drctl backup {s.asset}",
        )
    if s.gap:
        what = (
            f"{s.asset}: the log in {s.repository} has a gap: {s.gap}; nothing after it comes back"
        )
        yield what, f"drctl backup {s.asset}" if s.repository == primary else "drctl replicate"
    if apart := _apart(s):
        what = (
            f"{s.asset}: the log in {s.repository} does not continue the newest snapshot: {apart}"
        )
        yield what, f"see docs/engines/postgres.md, 'Set back'; then: drctl backup {s.asset}"
    if s.verdict == "missed" and s.repository == primary:
        yield f"{_whose(s)} has no recovery point that is new enough", f"drctl backup {s.asset}"


def _cure(asset: str, facts: Mapping[str, str]) -> str:
    again = f"drctl backup {asset}"
    if UNJUDGED in facts:
        return again
    if ANOMALY in facts:
        return f"drctl diff {asset}; if all is right: drctl backup --accept {asset}"
    return f"mend the source, then: {again}"


# -- documents ------------------------------------------------------------------------------------


def _document(found: _Found) -> dict[str, Any]:
    return {
        **stand_document(Stand(found.seen, found.standings, found.lags)),
        "drills": [
            {"drill": g.drill, "readiness": g.readiness, "age_seconds": rounded(g.age_seconds)}
            for g in found.drills
        ],
        "forecasts": [forecast_document(n, f, found.now_ns) for n, f in found.forecasts.items()],
        "to_do": [
            {"what": what, "command": command} for what, command in dict.fromkeys(_todos(found))
        ],
    }
