"""Remove what the plan does not keep, and collect what nothing needs."""

from typing import Any

import click

from drctl.cli.apart import must_be_apart
from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import DrctlError, ExitCode, UsageError
from drctl.ops.prune import Effort, PruneResult, prune
from drctl.report.results import asset_names, table
from drctl.units import count, iso_instant, parse_duration, parse_size, show_bytes, show_instant
from drctl.wiring import Wiring

_LEAST_PATIENCE_SECONDS = 3600.0


@click.command()
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--from", "chosen", multiple=True, metavar="REPOSITORY", help="Only this one; may be repeated."
)
@click.option("--grace", metavar="DURATION", help="Instead of the plan's keep.grace.")
@click.option(
    "--patience",
    metavar="DURATION",
    help="A run that does not show itself for so long counts as dead; else grace, 1h at least.",
)
@click.option(
    "--rewrite",
    default="1GiB",
    show_default=True,
    metavar="SIZE",
    help="Copy what lives in packs that are mostly dead, reading at most so much.",
)
@output_options
@pass_context
def command(
    context: Context,
    dry_run: bool,
    chosen: tuple[str, ...],
    grace: str | None,
    patience: str | None,
    rewrite: str,
) -> int:
    """Apply each repository's 'keep', and collect what nothing needs any more.

    Removed snapshots go to the trash: 'drctl undelete' brings them back until the grace period is
    over. No private key is needed, and nobody has to wait: backups may run meanwhile. Where a
    repository is locked and the plan has no lock for it, nothing is removed; exit code 11.
    """
    wiring, pool = context.wiring(), context.pool()
    kept = {name: part.keep for name, part in wiring.loaded.plan.repositories.items()}
    wanted = chosen or tuple(name for name, keep in kept.items() if keep)
    context.subject, context.is_run = " ".join(chosen), not dry_run
    context.interrupted_hint = "nothing that is kept was touched; the next run goes on"
    done: dict[str, PruneResult] = {}
    patience_ns: dict[str, int] = {}
    failed: dict[str, DrctlError] = {}
    for name in wanted:
        effort = _effort(wiring, name, grace, patience, rewrite, dry_run=dry_run)
        try:
            opened, rule = wiring.as_writer(name, fresh=True), wiring.rule(name)
            if name in wiring.lapsed():
                continue  # what goes here is what the lock was to keep
            if not dry_run:
                must_be_apart(wiring, name, [other for other in kept if other != name])
            done[name] = prune(opened, rule, effort, pool, wiring.clock, wiring.report)
            _tell_others(wiring, name, done[name])
        except DrctlError as error:
            if len(wanted) == 1 or isinstance(error, UsageError):
                raise
            failed[name] = error
            wiring.warn(f"{name} was not pruned: {error.what}")
        patience_ns[name] = effort.patience_ns
    document = {n: _document(result, dry_run, patience_ns[n]) for n, result in done.items()}
    document |= {n: {"failed": error.what} for n, error in failed.items()}
    document |= {n: {"left_alone": why} for n, why in wiring.lapsed().items()}
    text = [_text(n, result, dry_run, patience_ns[n]) for n, result in done.items()]
    text += [f"{n}: nothing is removed: the plan has no lock for it" for n in wiring.lapsed()]
    context.result(document, "\n".join(text) or _nothing(failed))
    if failed:
        return next(iter(failed.values())).exit_code
    if any(result.damaged for result in done.values()):
        return ExitCode.INTEGRITY
    return ExitCode.PARTIAL if wiring.lapsed() else ExitCode.DONE


def _tell_others(wiring: Wiring, name: str, result: PruneResult) -> None:
    """What the plan does not have may be another plan's, with a rule of its own."""
    others = sorted({s.asset for s in result.removed} - wiring.loaded.plan.assets.keys())
    if others:
        wiring.warn(
            f"{name}: snapshots of {', '.join(others)}, which this plan does not have, go by its "
            "'keep': if another plan saves them there, 'drctl undelete' brings them back, and the "
            "two plans need repositories of their own"
        )


def _nothing(failed: dict[str, DrctlError]) -> str:
    if failed:
        return "nothing was pruned"
    return "no repository of the plan has a 'keep': nothing is removed"


def _effort(
    wiring: Wiring,
    name: str,
    grace: str | None,
    patience: str | None,
    rewrite: str,
    *,
    dry_run: bool,
) -> Effort:
    try:
        seconds = parse_duration(grace) if grace else wiring.grace_seconds(name)
        waits = parse_duration(patience) if patience else max(seconds, _LEAST_PATIENCE_SECONDS)
        return Effort(seconds, waits, parse_size(rewrite), dry_run)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _document(result: PruneResult, dry_run: bool, patience_ns: int) -> dict[str, Any]:
    return {
        "repository": result.where,
        "dry_run": dry_run,
        "kept": [_verdict(v) for v in result.verdicts if v.stays],
        "removed": [_verdict(v) for v in result.verdicts if not v.stays],
        "marked": {
            "packs": len(result.marked.packs),
            "log": len(result.marked.log),
            "size_bytes": result.marked_bytes,
        },
        "rewritten": {"packs": result.rewritten_packs, "size_bytes": result.rewritten_bytes},
        "deleted": {"objects": result.deleted, "size_bytes": result.deleted_bytes},
        "damaged": result.damaged,
        "waiting_marks": result.waiting,
        "waiting_for_runs": [
            {"sign": n, "shown_at": iso_instant(ns), "dead_at": iso_instant(ns + patience_ns)}
            for n, ns in result.runs_in_the_way.items()
        ],
    }


def _waiting(result: PruneResult, patience_ns: int) -> list[str]:
    """How many marks wait, until when, and for whom."""
    if not result.waiting:
        return []
    lines = [f"  {count(result.waiting, 'mark', 'marks')} waiting for a later prune"]
    if result.ripe_ns is not None:
        lines.append(f"    the first can be had back until {show_instant(result.ripe_ns)}")
    for sign, shown_ns in result.runs_in_the_way.items():
        lines += [
            f"    for the run of {sign}, last seen at {show_instant(shown_ns)}:",
            f"    if it was killed, it counts as dead at {show_instant(shown_ns + patience_ns)};",
            "    sooner with '--patience DURATION', when you know that no backup is running",
        ]
    return lines


def _verdict(verdict: Any) -> dict[str, Any]:
    s = verdict.snapshot
    return {"id": s.name, "asset": s.asset, "host": s.host, "reasons": verdict.reasons}


def _text(name: str, result: PruneResult, dry_run: bool, patience_ns: int) -> str:
    gone = result.removed
    kept = len(result.verdicts) - len(gone)
    would = "would be " if dry_run else ""
    would_go = "goes" if dry_run else "is in the trash"
    marked, deleted = len(result.marked.packs), result.deleted
    stay = count(kept, "stays", "stay")
    lines = [
        f"{name}: {count(len(gone), 'snapshot', 'snapshots')} {would}removed, {stay}",
        f"  {would}marked: {count(marked, 'pack', 'packs')} and what belongs to them, "
        + show_bytes(result.marked_bytes),
        f"  {would}deleted: {count(deleted, 'object', 'objects')}, "
        + show_bytes(result.deleted_bytes),
    ]
    if result.rewritten_packs:
        lines.append(f"  {would}rewritten: {count(result.rewritten_packs, 'pack', 'packs')}")
    lines += _waiting(result, patience_ns)
    shown = result.verdicts if dry_run else [v for v in result.verdicts if not v.stays]
    if shown:
        named = asset_names(v.snapshot for v in result.verdicts)
        rows = [
            (
                v.snapshot.short,
                named[v.snapshot.name],
                show_instant(v.snapshot.consistent_at_ns),
                f"stays: {', '.join(v.reasons)}" if v.stays else would_go,
            )
            for v in shown
        ]
        lines.append(table(("snapshot", "asset", "consistent at", "what becomes of it"), rows))
    return "\n".join(lines)
