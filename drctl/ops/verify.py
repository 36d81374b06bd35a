"""Is a repository whole? Three depths, each with what is at hand.

- scrub, needs no key: every object (or a sample of the packs) is what its name says;
- structure, with a writer credential: indexes, tables of contents and refs fit each other, and
  every segment that a snapshot needs lies in a pack that is there;
- content, with an identity: every entry's blobs are there, and (a sample of) the data opens.

Everything wrong is collected, so that one bad object does not hide another.
"""

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from zlib import crc32

from msgspec import Struct, field

from drctl.codec import documents, table
from drctl.codec.recipients import Identity
from drctl.errors import IntegrityError, KeyUnavailable, NotFound, Unreadable
from drctl.events import Notice, Phase, Progress, Reporter
from drctl.model import Snapshot
from drctl.ops.logway import behind, gap_words
from drctl.ops.transfer import check_object, spread
from drctl.ops.verify_content import check_content
from drctl.ops.verify_gone import is_missed
from drctl.ops.verify_places import Needers, Wrong, check_places, check_sizes
from drctl.repository import catalog, keyring, lifecycle, lines, names, trash
from drctl.repository.index import Index
from drctl.repository.log import LogReader, session_of
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.storage.base import ObjectInfo, Storage
from drctl.units import count

Prove = Callable[[str, bytes], None]  # takes an object's name and bytes
_TELL_EVERY = 16  # objects
_GOLDEN = (5**0.5 - 1) / 2


class VerifyResult(Struct):
    """What was looked at, and everything that is wrong, a sentence each."""

    where: str
    depth: str = "scrub"  # scrub, structure or content
    objects: int = 0
    read_bytes: int = 0
    snapshots: int = 0
    assets: set[str] = field(default_factory=set)  # those that have a snapshot
    entries: int = 0
    wrong: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)  # names of objects that are, or are missing


class Effort(Struct, frozen=True):
    """`read_percent` of the packs and logs is read whole; `seed`, a day's number, makes the choice
    repeatable."""

    read_percent: float
    seed: int

    def takes(self, name: str) -> bool:
        """Everything small, and a share of the rest. Shares of days that follow each other, or are
        a week apart, lie beside each other as the seeds of a sunflower do, so that soon nothing is
        left that none of them took."""
        begin = self.seed * _GOLDEN
        place = crc32(name.encode()) / 2**32
        is_mine = (place - begin) % 1 * 100 < self.read_percent
        return is_mine or not name.startswith((names.PACKS, names.LOG))


def verify(
    storage: Storage,
    repository: Repository | None,
    identity: Identity | None,
    effort: Effort,
    pool: Executor,
    report: Reporter,
) -> VerifyResult:
    """As deep as the keys at hand allow: what is wrong is in the result. Raises StorageError when
    the storage itself fails."""
    result = VerifyResult(storage.where)
    wrong = _collector(result, report)
    prove, needers = None, None
    _check_keys(storage, repository, wrong)
    if repository:
        index, snapshots, needers = _structure(repository, pool, report, result, wrong)
        prove = _trash_reader(repository)
        if identity:
            reader = Reader(repository, index, identity)
            result.depth = "content"
            result.entries = check_content(reader, snapshots, report, wrong)
            prove = _opener(reader, LogReader(repository, identity, ""), prove)
    _scrub(storage, prove, effort, pool, report, result, wrong, needers)
    return result


def _trash_reader(repository: Repository) -> Prove:
    """What tells what is to go: nobody deletes anything while it does not read, and while a mark
    does not, no backup can tell what it may lean on."""

    def prove(name: str, data: bytes) -> None:
        del data
        if name.startswith(names.MARKS):
            trash.read_mark(repository, names.digest_of(name))
        elif name.startswith(names.TRASHED):
            catalog.manifest(repository, names.digest_of(name), names.TRASHED)

    return prove


def _opener(reader: Reader, log: LogReader, other: Prove) -> Prove:
    """With an identity, what holds data is opened too."""

    def prove(name: str, data: bytes) -> None:
        if name.startswith(names.PACKS):
            reader.check_pack(name, data)
        elif name.startswith(names.LOG):
            log.prove(name, data)
        else:
            other(name, data)

    return prove


def _collector(result: VerifyResult, report: Reporter) -> Wrong:
    def wrong(what: str, name: str = "") -> None:
        if name and name not in result.damaged:
            result.damaged.append(name)
        if what not in result.wrong:
            result.wrong.append(what)
            report.emit(Notice("warning", what))

    return wrong


# -- keys -----------------------------------------------------------------------------------------


def _check_keys(storage: Storage, repository: Repository | None, wrong: Wrong) -> None:
    """Each recipient has what opens the repository to it: without, nobody but a host that holds
    the secrets could tell what is there."""
    try:
        claimed = repository.claimed if repository else lifecycle.claimed_by(storage)
    except IntegrityError:
        return  # that the config is damaged is told in its turn
    present = [info.name for info in storage.list(names.KEYS)]
    for recipient in keyring.lost(claimed, present):
        wrong(keyring.told_lost(storage.where, recipient), keyring.key_name(recipient))


# -- objects --------------------------------------------------------------------------------------


def _scrub(
    storage: Storage,
    prove: Prove | None,
    effort: Effort,
    pool: Executor,
    report: Reporter,
    result: VerifyResult,
    wrong: Wrong,
    needers: Needers | None,
) -> None:
    """Read objects whole: their names prove them, and with an identity data is opened too."""
    report.emit(Phase(f"reading {effort.read_percent:g}% of the packs in {storage.where}"))
    chosen = [info for info in storage.list() if effort.takes(info.name)]
    total = sum(info.size_bytes for info in chosen)

    def look(info: ObjectInfo) -> str:
        try:
            data = storage.get(info.name)
            check_object(storage.where, info.name, data)
            if prove:
                prove(info.name, data)
        except NotFound as error:
            return error.what if is_missed(storage, needers, info.name) else ""
        except (IntegrityError, Unreadable, KeyUnavailable) as error:
            return error.what
        return ""

    for info, found in spread(chosen, pool, look):
        result.objects += 1
        result.read_bytes += info.size_bytes
        if found:
            is_pack = info.name.startswith(names.PACKS) and names.is_id(info.name)
            wrong(found + (needers.of_pack(info.name) if needers and is_pack else ""), info.name)
        if result.objects in (len(chosen), result.objects // _TELL_EVERY * _TELL_EVERY):
            report.emit(Progress(result.read_bytes, total, result.objects, len(chosen)))


# -- structure ------------------------------------------------------------------------------------


def _structure(
    repository: Repository, pool: Executor, report: Reporter, result: VerifyResult, wrong: Wrong
) -> tuple[Index, tuple[Snapshot, ...], Needers]:
    """Indexes, packs and refs. Gives what a look at the content needs."""
    result.depth = "structure"
    report.emit(Phase(f"checking what the snapshots in {repository.where} need"))
    # First what needs, then what is needed: a backup may be adding to both meanwhile.
    found = catalog.load(repository, pool)
    index = repository.load_index(wrong, pool)
    looking_at_log = pool.submit(_log_troubles, repository)
    for gap in _gaps(repository, found.snapshots):
        wrong(gap)
    listed = [info for info in repository.storage.list(names.PACKS) if names.is_id(info.name)]
    sizes = {info.name: info.size_bytes for info in listed}
    _take_unindexed(repository, index, listed, wrong)
    sessions, troubles = looking_at_log.result()
    for what, name in troubles:
        wrong(what, name)
    for damaged in found.damaged:
        wrong(damaged)
    present = _numbers_by_session(index)
    refs = list(pool.map(lambda s: _refs_or_error(repository, s), found.snapshots))
    for snapshot, needed in zip(found.snapshots, refs, strict=True):
        result.snapshots += 1
        result.assets.add(snapshot.asset)
        who = f"{repository.where}: snapshot {snapshot.short} of {snapshot.asset}"
        if isinstance(needed, str):
            # A thief's manifest may name anything: only what lies there is worth mending.
            is_there = snapshot.refs == names.digest_of(snapshot.refs)
            wrong(f"{who}: {needed}", names.REFS + snapshot.refs if is_there else "")
        elif trouble := _lacking(needed, present):
            wrong(f"{who}: {trouble}")
    _check_sessions(repository, sessions, found.snapshots, refs, wrong)
    # Collection may leave an index behind that names packs which nothing needs any more.
    needers = Needers(index, found.snapshots, refs, len(found.damaged))
    check_places(repository, index, sizes, needers, wrong)
    check_sizes(repository, index, needers, wrong)
    return index, found.snapshots, needers


def _check_sessions(
    repository: Repository,
    there: Collection[str],
    snapshots: Sequence[Snapshot],
    refs: Sequence[documents.Refs | str],
    wrong: Wrong,
) -> None:
    """The session of every segment that a snapshot needs is there: nobody opens it without."""
    needing: dict[str, list[str]] = {}
    for snapshot, needed in zip(snapshots, refs, strict=True):
        if not isinstance(needed, str):
            for session in needed.segments:
                needing.setdefault(session.hex(), []).append(snapshot.short)
    for digest, who in needing.items():
        if digest not in there:
            name = names.SESSIONS + digest
            needed_by = f"{count(len(who), 'snapshot', 'snapshots')}, such as {who[-1]}"
            what = f"{repository.where}: {name} is missing: nobody can open what was sealed with it"
            wrong(f"{what}, which {needed_by}, needs", name)


def _log_troubles(repository: Repository) -> tuple[set[str], list[tuple[str, str]]]:
    """The session of every piece of a log is there: without it nobody opens the piece. Gives the
    sessions; and what is wrong, with which object."""
    troubles = []
    pieces = list(repository.storage.list(names.LOG))  # first what needs: it may grow meanwhile
    there = {names.digest_of(info.name) for info in repository.storage.list(names.SESSIONS)}
    for info in pieces:
        try:
            session = session_of(repository.where, info.name)
        except IntegrityError as error:
            troubles.append((error.what, ""))
            continue
        if session not in there:
            name = names.SESSIONS + session
            what = f"{repository.where}: {name} is missing, though {info.name} needs it"
            troubles.append((what, name))
    return there, troubles


def _gaps(repository: Repository, snapshots: tuple[Snapshot, ...]) -> list[str]:
    """Behind the newest sound snapshot of each asset: a new one closes the gap."""
    newest = lines.newest(snapshot for snapshot in snapshots if not snapshot.suspect)
    ways = [(snapshot, behind(repository, snapshot)) for snapshot in newest]
    return [gap_words(repository.where, snapshot, way) for snapshot, way in ways if way.gap]


def _take_unindexed(
    repository: Repository, index: Index, packs: list[ObjectInfo], wrong: Wrong
) -> None:
    """A pack that no index names is a killed run's, or an index was lost: both are harmless as
    long as the pack itself reads. What it holds is there."""
    for info in packs:
        if not index.knows_pack(bytes.fromhex(names.digest_of(info.name))):
            try:
                index.add_pack(repository.read_toc(info))
            except IntegrityError as error:
                wrong(error.what)
            except NotFound:
                continue  # it was collected since it was listed


def _refs_or_error(repository: Repository, snapshot: Snapshot) -> documents.Refs | str:
    """What it needs, or why that does not read."""
    try:
        plain = repository.get_meta(names.REFS, documents.REFS_MAGIC, snapshot.refs)
        return documents.decode_refs(plain)
    except (IntegrityError, NotFound) as error:
        return f"its refs do not read: {error.what}"


def _lacking(refs: documents.Refs, present: Mapping[bytes, Sequence[int]]) -> str:
    """What of it is in no pack; empty: nothing."""
    needed = found = 0
    for session, runs in refs.segments.items():
        there = present.get(session, ())
        for first, length in zip(runs[::2], runs[1::2], strict=True):
            needed += length
            found += bisect_left(there, first + length) - bisect_left(there, first)
    if found == needed:
        return ""
    return f"{needed - found} of the {needed} segments that it needs are in no pack"


def _numbers_by_session(index: Index) -> dict[bytes, list[int]]:
    """The numbers of the segments that lie in packs, ascending: a run may claim more segments than
    there could ever be, so it is looked up, not written out."""
    numbers: dict[bytes, list[int]] = {}
    for session, number in sorted(index.segment_ids()):
        numbers.setdefault(session, []).append(number)
    return numbers


# -- indexes -------------------------------------------------------------------------------------


def rebuild_index(repository: Repository, report: Reporter) -> int:
    """Index every pack that no readable index names. Gives how many there were."""

    def damaged(what: str) -> None:
        report.emit(Notice("warning", what))

    index = Index()
    for info in repository.storage.list(names.INDEX):
        try:
            index.add(
                repository.get_meta(names.INDEX, documents.INDEX_MAGIC, names.digest_of(info.name))
            )
        except IntegrityError as error:
            damaged(error.what)
    found = repository.index_from_packs(index, damaged)
    if found:
        repository.put_meta(names.INDEX, documents.INDEX_MAGIC, table.encode(found))
    report.emit(Notice("info", f"{len(found)} packs were indexed anew"))
    return len(found)
