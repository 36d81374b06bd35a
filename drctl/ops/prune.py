"""The walk of a prune: rule -> snapshots to the trash -> marks -> sweeps. A dry run takes the same
decisions and does nothing."""

from collections.abc import Mapping
from concurrent.futures import Executor

from msgspec import Struct, field, structs
from msgspec.structs import replace

from drctl.clock import Clock
from drctl.errors import StorageError
from drctl.events import Notice, Phase, Reporter
from drctl.model import Snapshot
from drctl.ops.undelete import undelete
from drctl.repository import catalog, collect, holds, names, rewrite, runs, survey, trash
from drctl.repository.collect import to_delete, to_mark
from drctl.repository.repository import Repository
from drctl.repository.retention import CLOCKS_DIFFER_NS, Rule, Verdict, judge
from drctl.repository.survey import Needs, PackUse, Survey
from drctl.repository.trash import Mark
from drctl.storage.base import Storage

_SWEPT_NS = 7 * 24 * 3600 * 10**9  # after that, no run is expected to come late


class Effort(Struct, frozen=True):
    """`grace_seconds`: how long what is marked can be had back. `patience_seconds`: how long a run
    that does not show itself counts as alive. `rewrite_bytes`: of packs that are read to be
    rewritten."""

    grace_seconds: float
    patience_seconds: float
    rewrite_bytes: int
    dry_run: bool = False

    @property
    def grace_ns(self) -> int:
        return round(self.grace_seconds * 1e9)

    @property
    def patience_ns(self) -> int:
        return round(self.patience_seconds * 1e9)


class PruneResult(Struct):
    """`marked`: what this run found to be needless; `deleted`: what earlier runs had marked and is
    gone now. `waiting` marks wait, the first until `ripe_ns`, or for `runs_in_the_way`."""

    where: str
    verdicts: list[Verdict] = field(default_factory=list)
    marked: Mark = field(default_factory=Mark)
    marked_bytes: int = 0
    rewritten_packs: int = 0
    rewritten_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    waiting: int = 0
    ripe_ns: int | None = None
    runs_in_the_way: dict[str, int] = field(default_factory=dict)  # when each last showed itself
    damaged: list[str] = field(default_factory=list)  # packs that were to be rewritten, a sentence

    @property
    def removed(self) -> list[Snapshot]:
        return [v.snapshot for v in self.verdicts if not v.stays]


def prune(
    repository: Repository,
    rule: Rule | None,
    effort: Effort,
    pool: Executor,
    clock: Clock,
    report: Reporter,
) -> PruneResult:
    """Apply a rule to a repository and collect what nothing needs any more. No private key is
    needed. Raises IntegrityError, before anything is removed, when something does not read that
    tells what is needed."""
    report.emit(Phase(f"looking for what {repository.where} does not need"))
    result = PruneResult(repository.where)
    s = survey.look(repository, pool)
    s.host_ns = clock.now_ns()
    _tell_void(repository, s, report)
    result.verdicts = judge(_snapshots(s.snapshots), rule, s.held, s.seen_ns)
    going = [v.snapshot.name for v in result.verdicts if not v.stays]
    if not effort.dry_run:
        _bring_back_held(repository, s, clock, report)
        _retire(repository, [*going, *s.void])
    _move(s, going)
    needs = _needs(s, effort)
    chosen = rewrite.plan(s, needs, effort.grace_ns, effort.rewrite_bytes)
    if effort.dry_run:
        _pretend(repository.storage, s, chosen, needs, effort, result)
    else:
        _mark(repository, s, chosen, needs, effort, report, result)
        _sweep(repository, s.host_ns, effort, pool, report, result)
        trash.forget_gone(repository.storage)
        runs.forget_gone(repository.storage)
        _drop_old(repository.storage, names.DAMAGED, min(s.now_ns, s.host_ns) - effort.grace_ns)
        _drop_old(repository.storage, names.SWEPT, s.now_ns - _SWEPT_NS)
    return result


def _snapshots(manifests: Mapping[str, object]) -> list[Snapshot]:
    return [catalog.snapshot(digest, m) for digest, m in manifests.items()]  # type: ignore[arg-type]


# -- steps ----------------------------------------------------------------------------------------


def _tell_void(repository: Repository, s: Survey, report: Reporter) -> None:
    for digest in s.void:
        what = (
            f"{repository.where}: snapshot {digest[:8]} is not whole and goes: the run that wrote "
            "it was taken for dead, and was ended before it saw that"
        )
        report.emit(Notice("warning", what))


def _bring_back_held(repository: Repository, s: Survey, clock: Clock, report: Reporter) -> None:
    """Somebody held a snapshot while it was being removed: the hold wins."""
    for digest in sorted((s.trashed.keys() & s.held.keys()) - trash.held_back(s.marks)):
        try:
            undelete(repository, digest, clock)
        except StorageError as error:
            report.emit(Notice("warning", f"{error.what}, though it is held"))
        else:
            report.emit(Notice("info", f"snapshot {digest[:8]} is held: it was brought back"))


def _retire(repository: Repository, going: list[str]) -> None:
    """To the trash. Holds are looked at once more when the copies there are made: one that came
    meanwhile wins."""
    for digest in going:
        trash.keep_copy(repository.storage, digest)
    held = holds.load(repository) if going else {}
    for digest in going:
        folder = names.TRASHED if digest in held else names.SNAPSHOTS
        repository.storage.delete(folder + digest)


def _move(s: Survey, going: list[str]) -> None:
    """As it is in the storage now."""
    for digest in going:
        s.trashed[digest] = s.snapshots.pop(digest)
    s.trashed |= s.void
    s.trashed_ns |= dict.fromkeys([*going, *s.void], s.now_ns)
    for digest in (s.trashed.keys() & s.held.keys()) - s.void.keys():
        s.snapshots[digest] = s.trashed.pop(digest)


def _mark(
    repository: Repository,
    s: Survey,
    chosen: rewrite.Rewriting,
    needs: Needs,
    effort: Effort,
    report: Reporter,
    result: PruneResult,
) -> None:
    """Everything new is there before the mark says that the old may go."""

    def damaged(what: str) -> None:
        result.damaged.append(what)
        report.emit(Notice("warning", what))

    made = rewrite.rewrite(repository, chosen.packs, needs, damaged)
    rewrite.put_index(repository, made)
    for table in made:
        name = names.named(names.PACKS, table.name.hex())
        use = PackUse(repository.storage.head(name))
        use.segments.extend(((x.session, x.number), x.stored_bytes) for x in table.segments)
        s.packs[use.name] = use
    _note(s, effort, chosen, result)
    rewrite.merge_index(repository, s, result.marked.index, frozenset(result.marked.packs))
    _say_since(repository.storage, s)
    if result.marked:
        trash.put_mark(repository, result.marked, s.present)


def _say_since(storage: Storage, s: Survey) -> None:
    """Of marks whose maker was killed. What bears a time to come was put while the storage's clock
    was ahead: its grace period would not end before that, so it begins now. So it does where the
    clock was behind: it would have ended when that was set right."""
    latest_ns = s.now_ns + CLOCKS_DIFFER_NS
    for digest in [d for d, removed_ns in s.trashed_ns.items() if removed_ns > latest_ns]:
        trash.keep_anew(storage, digest)
    for seen in s.marks:
        if collect.is_doubtful(seen, s.now_ns, s.host_ns):
            trash.note_since(storage, seen.digest, s.present)


def _needs(s: Survey, effort: Effort) -> Needs:
    going = frozenset(to_mark(s, effort.grace_ns).refs) | s.marked("refs")
    kept = {m.refs for d, m in s.snapshots.items()}
    return Needs(refs for digest, refs in s.refs.items() if digest not in going or digest in kept)


def _note(s: Survey, effort: Effort, chosen: rewrite.Rewriting, result: PruneResult) -> None:
    """What is to be marked, and how much that is."""
    replaced = frozenset(use.name for use in chosen.packs)
    found = to_mark(s, effort.grace_ns, replaced)
    index = rewrite.stale_index(s, frozenset(found.packs) | s.marked("packs"))
    result.marked = structs.replace(found, index=tuple(index))
    result.marked_bytes = collect.bytes_of(s, result.marked)
    result.rewritten_packs = len(chosen.packs)
    result.rewritten_bytes = chosen.read_bytes


def _sweep(
    repository: Repository,
    host_ns: int,
    effort: Effort,
    pool: Executor,
    report: Reporter,
    result: PruneResult,
) -> None:
    now_ns = trash.storage_now_ns(repository.storage)
    for seen in trash.seen(repository):
        done = None
        is_ripe = collect.is_ripe(seen, now_ns, host_ns, effort.grace_ns)
        if is_ripe:
            report.emit(Phase(f"deleting what nothing needed since {seen.digest[:8]} was marked"))
            done = collect.sweep(repository, seen, effort.patience_ns, pool)
        if done is None:
            _wait(repository.storage, seen, is_ripe, now_ns, effort, result)
            continue
        result.deleted += done.objects
        result.deleted_bytes += done.freed_bytes
        for refused in done.kept:
            report.emit(Notice("warning", refused))


def _wait(
    storage: Storage,
    seen: trash.Seen,
    is_ripe: bool,
    now_ns: int,
    effort: Effort,
    result: PruneResult,
) -> None:
    """A mark stays: why, so that nobody has to guess when the room is free."""
    result.waiting += 1
    if not is_ripe:
        since_ns = now_ns if seen.since_ns is None else max(seen.since_ns, seen.noted.host_ns)
        ripe_ns = since_ns + effort.grace_ns
        result.ripe_ns = min(ripe_ns, result.ripe_ns or ripe_ns)
        return
    signs = collect.in_the_way(storage, seen, effort.patience_ns, now_ns)
    result.runs_in_the_way |= {sign.name: sign.shown_ns for sign in signs}


def _drop_old(storage: Storage, folder: str, old_ns: int) -> None:
    """What a repair put aside, and nobody asked for within the grace period; and what sweeps noted
    for runs that come late."""
    for info in list(storage.list(folder)):
        if info.modified_ns <= old_ns:
            storage.delete(info.name)


# -- a dry run ------------------------------------------------------------------------------------


def _pretend(
    storage: Storage,
    s: Survey,
    chosen: rewrite.Rewriting,
    needs: Needs,
    effort: Effort,
    result: PruneResult,
) -> None:
    """As if everything had been done. Nothing is changed but the survey itself."""
    for number, use in enumerate(chosen.packs):
        made = _as_if_rewritten(use, number, needs)
        s.packs[made.name] = made
    _note(s, effort, chosen, result)
    if result.marked:
        witnesses = tuple(sign.id for sign in runs.signs(storage, names.WRITING))
        new = trash.Seen("", result.marked, s.now_ns, witnesses, is_swept=False, noted=s.present)
        s.marks.append(new)
    for seen in s.marks:
        is_ripe = collect.is_ripe(seen, s.now_ns, s.host_ns, effort.grace_ns)
        if not is_ripe or collect.in_the_way(storage, seen, effort.patience_ns, s.now_ns):
            _wait(storage, seen, is_ripe, s.now_ns, effort, result)
            continue
        found = to_delete(s, seen)
        result.deleted += sum(len(getattr(found, f)) for f in Mark.__struct_fields__)
        result.deleted_bytes += collect.bytes_of(s, found)


def _as_if_rewritten(use: PackUse, number: int, needs: Needs) -> PackUse:
    segments = [(segment, size) for segment, size in use.segments if segment in needs]
    name = f"{names.PACKS}rewritten-{number}"
    return PackUse(replace(use.info, name=name, size_bytes=sum(b for _, b in segments)), segments)
