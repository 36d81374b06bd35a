"""The walk of a backup: source -> entries -> blobs -> packs -> index -> refs -> snapshot."""

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from msgspec import Struct, field
from msgspec.structs import replace

from drctl import __version__
from drctl.clock import Clock
from drctl.codec.chunker import Chunker
from drctl.codec.documents import Manifest
from drctl.engines.base import Capture, Source
from drctl.errors import DrctlError, IntegrityError, StorageError, StorageFault
from drctl.events import EntryProblem, Notice, Phase, Reporter
from drctl.model import Snapshot
from drctl.ops.anomaly import (
    ACCEPTED,
    ANOMALY,
    UNJUDGED,
    Past,
    carried,
    judge,
    judged_late,
    measured,
)
from drctl.ops.intake import Intake, Tally
from drctl.ops.reread import Again, due, everything
from drctl.ops.whose import differs
from drctl.repository import catalog, lines, names, runs, trash
from drctl.repository.catalog import Catalog
from drctl.repository.committing import commit
from drctl.repository.lostpacks import lost_packs
from drctl.repository.repository import Repository
from drctl.repository.runs import Run
from drctl.repository.state import Of, StateFile, StateWriter
from drctl.repository.stored import ContentStore
from drctl.repository.writer import Writer
from drctl.units import parse_duration, show_instant, show_seconds

_SUSPECT_HINT = (
    ". It was stored, and pushes no good snapshot out. See what changed with 'drctl diff'; if it "
    "is as it should be, 'drctl backup --accept' says so"
)


class Asset(Struct, frozen=True):
    """What is backed up, and how it is to be stored."""

    name: str
    engine: str
    source: Source
    level: int = 3  # of zstd
    tags: tuple[str, ...] = ()
    in_order: bool = True  # see engines.base.Engine
    reread: str | None = None  # the time within which each file is read again, changed or not


class Around(Struct, frozen=True):
    """What a backup runs in."""

    repository: Repository
    state: StateFile
    pool: Executor
    clock: Clock
    report: Reporter
    plan_digest: str = ""
    host: str = field(default_factory=socket.gethostname)
    accepting: bool = False  # what is out of the ordinary is as somebody expects it
    rereading: bool = False  # everything is read, also what did not change


class BackupResult(Struct, frozen=True):
    """`read_bytes` were read from the source; `snapshot.added_bytes` went to storage. `lost_packs`
    were found to be gone when it began."""

    snapshot: Snapshot
    new: int
    changed: int
    unchanged: int
    read_bytes: int
    problems: tuple[EntryProblem, ...]
    seconds: float
    lost_packs: tuple[str, ...] = ()


def backup(asset: Asset, around: Around) -> BackupResult:
    """One snapshot of one asset. Nothing is committed unless the source proved itself whole.

    Raises SourceError, StorageError, IntegrityError, KeyUnavailable, Interrupted.
    """
    with signed(around) as (run, shown):
        start = begin(around)
        around.report.emit(Phase(f"backing up {asset.name}"))
        opened = _open(asset, shown)
        with shown.state.replace() as state, asset.source.open() as capture:
            return settle(take_in(asset, shown, capture, state, start, opened=opened), run)


@contextmanager
def signed(around: Around) -> Iterator[tuple[Run, Around]]:
    """What a backup runs in, with the run's sign, which stands while the block runs and is shown
    again with every event."""
    repository = around.repository
    with runs.running(repository.storage, repository.randomness, around.clock) as run:
        yield run, replace(around, report=runs.Showing(run, around.report))


class Start(Struct, frozen=True):
    """When a run began, by both clocks."""

    monotonic_seconds: float
    at_ns: int


def begin(around: Around) -> Start:
    """Now."""
    return Start(around.clock.monotonic_seconds(), around.clock.now_ns())


class Opened(Struct, frozen=True):
    """A repository that is open for one asset, and the packs that were found to be lost then."""

    writer: Writer
    lost_packs: tuple[str, ...]


class Taken(Struct, frozen=True):
    """An asset that was read whole and stored: all but its commit."""

    around: Around
    state: StateWriter
    start: Start
    tally: Tally
    manifest: Manifest
    lost_packs: tuple[str, ...] = ()


def take_in(
    asset: Asset,
    around: Around,
    capture: Capture,
    state: StateWriter,
    start: Start,
    facts: dict[str, str] | None = None,
    opened: Opened | None = None,
) -> Taken:
    """Read what was opened, and store it. `facts` are told beside the capture's own."""
    opened = opened or _open(asset, around)
    writer = opened.writer
    store = ContentStore(writer, Chunker(around.repository.secrets.chunker_seed), around.pool)
    before = around.state.read()
    _tell_if_clock_went_back(around, start.at_ns)
    again = everything if around.rereading else _due(asset, around, start)
    intake = Intake(store, writer, before, state, around.clock, around.report, again)
    with _keeping_what_was_stored(writer, around.report):
        take = intake.entries if asset.in_order else intake.entries_put_in_order
        infos = store.tree(take(capture.items()))
        root = store.root(infos, capture.private_facts)
        refs = writer.finish()
    made = _manifest(asset, around, capture, intake.tally, facts or {})
    manifest = _judged(made(start.at_ns, root, refs, writer), around, intake.tally)
    return Taken(around, state, start, intake.tally, manifest, opened.lost_packs)


def _due(asset: Asset, around: Around, start: Start) -> Again | None:
    within = parse_duration(asset.reread) if asset.reread else None
    return due(within, around.state.begun_at_ns(), start.at_ns)


def settle(taken: Taken, run: Run) -> BackupResult:
    """From here on the snapshot exists."""
    around, state = taken.around, taken.state
    snapshot = commit(around.repository, run, taken.manifest)
    state.commit(Of(snapshot.name, snapshot.started_at_ns))
    if state.trouble:
        around.report.emit(Notice("warning", f"{state.trouble}: the next run reads all anew"))
    seconds = around.clock.monotonic_seconds() - taken.start.monotonic_seconds
    return _result(snapshot, taken, seconds)


def _tell_if_clock_went_back(around: Around, now_ns: int) -> None:
    """The newest snapshot is the one of the latest instant, so it matters which clock says so."""
    last_ns = around.state.begun_at_ns()
    if last_ns > now_ns:
        behind = show_seconds((last_ns - now_ns) / 1e9)
        text = f"this machine's clock went back by {behind} since the last run: until then that"
        around.report.emit(Notice("warning", f"{text} one counts as the newest; see to the clock"))


def _open(asset: Asset, around: Around) -> Opened:
    """Marks are looked at before packs: what goes between the two is known to be marked."""

    def damaged(what: str) -> None:
        around.report.emit(Notice("warning", what))

    going = trash.condemned(around.repository)
    index = around.repository.load_index(
        damaged, around.pool, only_present=True, condemned=going.ids
    )
    writer = Writer(around.repository, index, around.pool, asset.level)
    return Opened(writer, lost_packs(around.repository, index, around.pool))


@contextmanager
def _keeping_what_was_stored(writer: Writer, report: Reporter) -> Iterator[None]:
    """A run that is given up indexes what it stored, so that the next one need not store it."""
    try:
        yield
    except StorageFault:
        raise  # the storage does not answer: asking it for more would only hang
    except (DrctlError, KeyboardInterrupt) as reason:
        is_torn = isinstance(reason, KeyboardInterrupt | StorageError)
        try:
            (writer.rescue if is_torn else writer.settle)()
        except DrctlError as error:
            report.emit(Notice("warning", f"what was stored so far is not indexed: {error}"))
        raise


def _manifest(
    asset: Asset, around: Around, capture: Capture, tally: Tally, more: dict[str, str]
) -> Callable[[int, bytes, str, Writer], Manifest]:
    """Everything that the manifest says, but for what the storing of the entries gave."""

    def made(started_ns: int, root: bytes, refs: str, writer: Writer) -> Manifest:
        return Manifest(
            asset=asset.name,
            engine=asset.engine,
            host=around.host,
            consistent_at_ns=capture.consistent_at_ns,
            started_at_ns=started_ns,
            finished_at_ns=around.clock.now_ns(),
            entries=tally.entries,
            size_bytes=tally.size_bytes,
            added_bytes=writer.stored_bytes,
            problems=len(tally.problems),
            root=root,
            refs=refs,
            tags=asset.tags,
            plan_digest=around.plan_digest,
            version=__version__,
            facts={**capture.facts, **more},
        )

    return made


def _judged(manifest: Manifest, around: Around, tally: Tally) -> Manifest:
    """With what it is to tell later runs, and whether it is far from what earlier ones told. That
    never fails a backup: what is suspect is needed, too. So is one that nobody can judge now, which
    is no good one until the next run has judged both."""
    try:
        found = catalog.load(around.repository, around.pool)
        past = judged_late(_past(manifest, found, around))
    except (StorageError, IntegrityError) as error:
        text = f"{manifest.asset}: the earlier snapshots cannot be read: {error.what}"
        around.report.emit(Notice("warning", text))
        told = replace(manifest, facts={**manifest.facts, **measured(tally, None)})
        odd = "it could not be compared with earlier ones, which the next backup does"
        return _flagged(told, odd, around, {UNJUDGED: around.state.of().name})
    _tell_if_first_of_host(manifest, found.of(manifest.asset), around.report)
    newest = past.snapshots[-1] if past.snapshots else None
    told = replace(manifest, facts={**manifest.facts, **measured(tally, newest)})
    made = catalog.snapshot("", told)
    _tell_if_another(newest, made, around.report)
    odd = judge(made, past)
    return _flagged(told, odd, around, carried(made, past)) if odd else told


def _flagged(told: Manifest, odd: str, around: Around, more: dict[str, str]) -> Manifest:
    if around.accepting:
        return replace(told, facts={**told.facts, ACCEPTED: odd})
    around.report.emit(Notice("warning", f"{told.asset} is SUSPECT: {odd}{_SUSPECT_HINT}"))
    return replace(told, facts={**told.facts, ANOMALY: odd, **more})


def _past(manifest: Manifest, found: Catalog, around: Around) -> Past:
    """Where the newest is not the one that this host remembers, or was not judged yet, somebody may
    have removed the one before, and all that was suspect: the trash is looked at, too."""
    listed = found.line(manifest.asset, manifest.host)
    of = around.state.of()
    if not listed or (listed[-1].name == of.name and UNJUDGED not in listed[-1].facts):
        return Past(listed)
    both = found.with_removed(catalog.load(around.repository, around.pool, names.TRASHED))
    is_gone = of.name and all(s.name != of.name for s in both.snapshots)
    is_last = of.started_at_ns >= listed[-1].started_at_ns
    lost = of.name if is_gone and is_last else ""
    return Past(both.line(manifest.asset, manifest.host), lost)


def _tell_if_first_of_host(
    manifest: Manifest, of_asset: Sequence[Snapshot], report: Reporter
) -> None:
    """Two hosts with one plan are easily made, by copying it. Nothing is lost then, but somebody
    should know."""
    asset, host, others = manifest.asset, manifest.host, lines.hosts(of_asset)
    if others and host not in others:
        whose = ", ".join(others)
        text = (
            f"{asset}: this is the first snapshot of host {host}; there are some of {whose}. If "
            f"{host} took over, nothing is to be done. If others save {asset} here, too, each "
            f"host's stand alone: '{asset}@HOST' names one"
        )
        report.emit(Notice("warning", text))


def _tell_if_another(newest: Snapshot | None, made: Snapshot, report: Reporter) -> None:
    """Two plans on one host may use one name without knowing it."""
    if newest and (how := differs(newest, made)):
        text = (
            f"{made.asset}: this snapshot is {how}, as the one before was, {newest.short} of "
            f"{show_instant(newest.consistent_at_ns)}. If the plan was changed, nothing is to be "
            "done. If another plan saves here under this name, give one of the two another: the "
            "newest is restored, and meets the objective, whosever it is"
        )
        report.emit(Notice("warning", text))


def _result(snapshot: Snapshot, taken: Taken, seconds: float) -> BackupResult:
    tally = taken.tally
    return BackupResult(
        snapshot,
        tally.new,
        tally.changed,
        tally.unchanged,
        tally.read_bytes,
        tuple(tally.problems),
        seconds,
        taken.lost_packs,
    )
