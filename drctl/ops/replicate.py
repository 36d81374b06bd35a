"""Copy what is missing from one repository to another, still sealed, without any private key.

Objects go in commit order, so the copy is a valid repository at every instant; each is proven by
its name before it is written, so damage here never becomes the only copy there. Damage to one
object is told at the end and keeps no other from being copied.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress

from msgspec import Struct, field

from drctl.codec import documents
from drctl.codec.keys import Secrets
from drctl.errors import IntegrityError, NotFound, StorageError, Unreadable
from drctl.events import Notice, Phase, Progress, Reporter
from drctl.logpieces import LogPiece, first_file, outlived, superseded
from drctl.ops import configs
from drctl.ops.configs import Configs
from drctl.ops.leaving import ALL, Leaving
from drctl.ops.transfer import copied, damage_of, spread
from drctl.repository import keyring, lifecycle, log, names
from drctl.storage.base import ObjectInfo, Storage

_REWRITTEN = (names.PACKS, names.INDEX)
_REMAKE = "'drctl verify --repair', where the writer credential is, makes it again"


class ReplicateResult(Struct, frozen=True):
    """`objects` and `size_bytes` were copied; `present` objects were there already, of which
    `mended` were damaged and are replaced."""

    objects: int
    size_bytes: int
    present: int
    snapshots: tuple[str, ...] = ()  # names of those that are new there
    mended: int = 0


class _Done(Struct):
    """What a replication has come to so far."""

    objects: int = 0
    size_bytes: int = 0
    present: int = 0
    mended: int = 0
    snapshots: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)  # from the source, since they were listed
    keyless: str = ""  # that a recipient cannot open the copy


def replicate(
    source: Storage,
    copy: Storage,
    pool: Executor,
    report: Reporter,
    leaving: Leaving = ALL,
    before_commit: Callable[[], None] = lambda: None,
    look_back: Callable[[Sequence[str]], None] = lambda _: None,
    *,
    secrets: Secrets | None = None,
    proving: bool = False,
) -> ReplicateResult:
    """Make `copy` hold all that `source` holds, but for what it is not to be given. With `proving`
    what it holds already is read, and replaced where it is damaged; the config, which `secrets`
    prove, always is. Raises StorageError, IntegrityError, what `before_commit` raises before
    snapshots are copied, and what `look_back` raises when it is given the names of those that came,
    whatever else was damaged."""
    report.emit(Phase(f"replicating {source.where} to {copy.where}"))
    refuse_another(source, copy)
    done = _Done()
    # Snapshots are listed first, then what they need: a backup may be adding to both meanwhile, and
    # the copy must not get a snapshot without its packs.
    listed = {folder: list(source.list(folder)) for folder in reversed(names.COPY_ORDER)}
    config = _look_at_config(source, copy, secrets, proving, listed, done, report)
    for folder in names.COPY_ORDER:
        if folder == names.SNAPSHOTS:
            _come_round(source, copy, pool, report, leaving, listed, done)
            before_commit()
        there = list(copy.list(folder))
        done.present += len(there)
        if folder == names.CONFIG:
            damaged = {names.CONFIG: config.mend} if config.mend else {}
        else:
            damaged = _damaged(copy, there, pool) if proving else {}
        done.damaged += [damaged[n] for n in damaged.keys() - {i.name for i in listed[folder]}]
        missing = _missing(listed[folder], there, damaged, leaving)
        for info, damage in copied(source, copy, missing, pool, secrets):
            _note(done, info, damage, report)
            done.mended += info.name in damaged and damage == ""
        if folder == names.KEYS:
            done.keyless = _keyless(source, copy, config, listed[folder], there, report)
    look_back(done.snapshots)
    _conclude(done.damaged)
    _refuse_keyless(done.keyless)
    return ReplicateResult(
        done.objects, done.size_bytes, done.present, tuple(done.snapshots), done.mended
    )


def _look_at_config(
    source: Storage,
    copy: Storage,
    secrets: Secrets | None,
    proving: bool,
    listed: dict[str, list[ObjectInfo]],
    done: _Done,
    report: Reporter,
) -> Configs:
    found = configs.compare(source, copy, secrets, proving=proving)
    if found.wrong:
        done.damaged.append(found.wrong)
        report.emit(Notice("warning", found.wrong))
    if found.stays:
        listed[names.CONFIG] = []
    return found


def _keyless(
    source: Storage,
    copy: Storage,
    config: Configs,
    listed: Iterable[ObjectInfo],
    there: Iterable[ObjectInfo],
    report: Reporter,
) -> str:
    """A key that the original lost is told. Gives what to say of one that the copy lacks, too."""
    if config.claimed is None:
        return ""  # that the config is damaged is told
    lost = keyring.lost(config.claimed, [info.name for info in listed])
    for recipient in lost:
        what = f"{keyring.told_lost(source.where, recipient)}; {_REMAKE}"
        report.emit(Notice("warning", what))
    neither = keyring.lost(lost, [info.name for info in there])
    return keyring.told_lost(copy.where, neither[0]) if neither else ""


def _refuse_keyless(what: str) -> None:
    if what:
        raise IntegrityError(what, hint=f"all else was copied; {_REMAKE}, then replicate again")


def _damaged(copy: Storage, there: Iterable[ObjectInfo], pool: Executor) -> dict[str, str]:
    """Objects at the copy that are not what was written, each with what is wrong. A storage's own
    checksum would not do: it tells what the server was given, not what its disk gives back."""
    looked = spread(there, pool, lambda info: damage_of(copy, info.name))
    return {info.name: what for info, what in looked if what}


def _missing(
    listed: Iterable[ObjectInfo],
    there: Iterable[ObjectInfo],
    damaged: Mapping[str, str],
    leaving: Leaving,
) -> list[ObjectInfo]:
    """What is to be copied. A copy of the same name but another length is torn or foreign."""
    sizes = {info.name: info.size_bytes for info in there}
    return [
        info
        for info in listed
        if info.name in damaged
        or (sizes.get(info.name) != info.size_bytes and not leaving.leaves(info.name))
    ]


def _come_round(
    source: Storage,
    copy: Storage,
    pool: Executor,
    report: Reporter,
    leaving: Leaving,
    listed: Mapping[str, Sequence[ObjectInfo]],
    done: _Done,
) -> None:
    """Where a prune took packs or indexes meanwhile, what is live in them lies in new ones: these
    are copied, too, before a snapshot that needs them."""
    known = {info.name for folder in _REWRITTEN for info in listed[folder]}
    while any(name.startswith(_REWRITTEN) for name in done.gone):
        done.gone.clear()
        for folder in _REWRITTEN:
            new = [info for info in source.list(folder) if info.name not in known]
            known.update(info.name for info in new)
            for info, damage in copied(source, copy, _missing(new, (), {}, leaving), pool):
                _note(done, info, damage, report)


def _note(done: _Done, info: ObjectInfo, damage: str | None, report: Reporter) -> None:
    if damage is None:
        done.gone.append(info.name)
        return
    if damage:
        done.damaged.append(damage)
        report.emit(Notice("warning", damage))
        return
    if info.name.startswith(names.SNAPSHOTS):
        done.snapshots.append(info.name)
    done.objects += 1
    done.size_bytes += info.size_bytes
    report.emit(Progress(done.size_bytes, 0, done.objects, stored_bytes=done.size_bytes))


def copy_logs(source: Storage, copy: Storage, pool: Executor) -> int:
    """Bring the logs of databases up to date, and nothing else: quick enough for every few seconds.
    Parts that a whole piece covers by now go from the copy, too. Gives how many pieces were
    copied. Raises StorageError, IntegrityError."""
    refuse_another(source, copy)
    listed, sessions = _pieces(source), list(source.list(names.SESSIONS))
    there = _pieces(copy)
    missing = _not_collected(copy, _lacking(listed, there), there)
    needed = {names.SESSIONS + log.session_of(source.where, i.name) for i in missing}
    opening = [i for i in sessions if i.name in needed]
    if opening:
        opening = _lacking(opening, copy.list(names.SESSIONS))
    damaged = []
    for wanted in (opening, missing):  # a piece is of no use without its session
        damaged += [damage for _, damage in copied(source, copy, wanted, pool) if damage]
    present = _pieces(copy) if missing else there  # what was damaged did not come
    for piece in superseded(log.piece(copy.where, i.name, 0) for i in present):
        with suppress(StorageError):  # it may not delete there: what stays does no harm
            copy.delete(piece.name)
    _conclude(damaged)
    return len(missing)


def _pieces(storage: Storage) -> list[ObjectInfo]:
    """What others left among them is nobody's log."""
    return [info for info in storage.list(names.LOG) if log.is_piece(info.name)]


def _lacking(wanted: Iterable[ObjectInfo], there: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    sizes = {info.name: info.size_bytes for info in there}
    return [info for info in wanted if sizes.get(info.name) != info.size_bytes]


def _not_collected(
    copy: Storage, missing: list[ObjectInfo], there: list[ObjectInfo]
) -> list[ObjectInfo]:
    """Without what lies before the first file of its log at a copy that collects: it has done with
    that. What a snapshot needs of it comes with the snapshot."""
    here, lacking = _by_stream(copy, there), _by_stream(copy, missing)
    early = {
        piece.name
        for stream in here.keys() & lacking.keys()
        for piece in outlived(lacking[stream], first_file(here[stream]))
    }
    if not early or not any(copy.list(names.TRASH)):
        return missing
    return [info for info in missing if info.name not in early]


def _by_stream(copy: Storage, infos: Iterable[ObjectInfo]) -> dict[str, list[LogPiece]]:
    found: dict[str, list[LogPiece]] = {}
    for info in infos:
        found.setdefault(info.name.split("/")[1], []).append(log.piece(copy.where, info.name, 0))
    return found


def refuse_another(source: Storage, copy: Storage) -> None:
    """A place that holds another repository must stay as it is: its config would be overwritten,
    and then nobody could read it any more."""
    ours, theirs = _repository_id(source), _repository_id(copy)
    if ours and not theirs:
        with suppress(Unreadable):  # it tells nothing any more, and may be replaced
            lifecycle.refuse_another(copy, ours)
    if ours and theirs and ours != theirs:
        raise StorageError(
            f"{copy.where} holds another repository ({theirs.hex()[:8]}) than {source.where} "
            f"({ours.hex()[:8]}): nothing was copied",
            hint="was the first made anew? name an empty place for its copy; the other still reads",
        )


def _repository_id(storage: Storage) -> bytes | None:
    """None where there is no config, or none that reads."""
    try:
        return documents.decode_config(storage.get(names.CONFIG), None).repository_id
    except (NotFound, Unreadable, IntegrityError):
        return None


def _conclude(damaged: list[str]) -> None:
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise IntegrityError(
            f"{damaged[0]}{more}: not copied",
            hint="everything else was; 'drctl verify' tells which snapshots need it, and mends "
            "what it can with --repair",
        )
