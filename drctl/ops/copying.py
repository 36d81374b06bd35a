"""A replication that works beside backups, prunes and other replications at both ends."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from drctl.clock import Clock, Randomness
from drctl.codec.keys import Secrets
from drctl.errors import IntegrityError, KeyUnavailable, StorageError
from drctl.events import Notice, Reporter
from drctl.ops.leaving import ALL, Leaving, leave
from drctl.ops.replicate import ReplicateResult, refuse_another, replicate
from drctl.repository import catalog, names, runs
from drctl.repository.committing import need_of, take_back_unless_whole
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.repository.runs import Run
from drctl.storage.base import Storage

Open = Callable[[], Repository]  # the original, with the writer credential


def bring_up_to_date(
    source: Storage,
    copy: Storage,
    opened: Open,
    rule: Rule | None,
    pool: Executor,
    clock: Clock,
    randomness: Randomness,
    report: Reporter,
    *,
    secrets: Secrets | None = None,
    proving: bool = False,
) -> ReplicateResult:
    """Give a copy what it is to hold; `secrets` and `proving`: see `replicate`. It relies on what
    is there already, marked or not, so its sign stands at the copy and no sweep begins there
    meanwhile. A copy that removes nothing needs no key. Raises StorageError, IntegrityError."""
    refuse_another(source, copy)
    with runs.running(copy, randomness, clock, reviving=True) as run:
        if run.stands_at(source):
            raise one_place(copy, source)
        chooses = prunes(copy, rule)
        leaving = _leaving(copy, opened, rule, pool, report) if chooses else ALL

        def must_stand() -> None:
            if not run.stands():
                raise StorageError(
                    f"{copy.where}: this replication paused so long that it was taken for dead",
                    hint="run it again; what was copied is there",
                )

        def look_back(snapshots: Sequence[str]) -> None:
            if snapshots and not run.stands():
                _take_back(copy, opened, run, snapshots, leaving)

        shown = runs.Showing(run, report)
        return replicate(
            source,
            copy,
            pool,
            shown,
            leaving,
            must_stand,
            look_back,
            secrets=secrets,
            proving=proving,
        )


def one_place(copy: Storage, original: Storage) -> StorageError:
    """There is one copy less than was thought."""
    return StorageError(
        f"{copy.where} is the same place as {original.where}: what lies there lies there once",
        hint="a symbolic link, a mount, or another name of the server leads from one to the other: "
        "give each repository of the plan a place of its own, then 'drctl init'",
    )


def prunes(copy: Storage, rule: Rule | None) -> bool:
    """Whether anything is removed there: it has a rule, or a trash. Then it is given what it lacks;
    else all that there is."""
    return rule is not None or any(copy.list(names.TRASH))


def _leaving(
    copy: Storage, opened: Open, rule: Rule | None, pool: Executor, report: Reporter
) -> Leaving:
    """When something is damaged here, or there is no credential, the copy gets all that is sound:
    too much is better than too little."""
    try:
        original = opened()
        return leave(original, at_copy(original, copy), rule, pool)
    except (IntegrityError, KeyUnavailable) as error:
        what = f"{copy.where}: what its rule does not keep is copied, too: {error.what}"
        report.emit(Notice("warning", what))
        return ALL


def at_copy(original: Repository, copy: Storage) -> Repository:
    """The same repository at another place, also before its config is there."""
    return Repository(copy, original.secrets, original.recipients, original.randomness)


def _take_back(
    copy: Storage, opened: Open, run: Run, snapshots: Sequence[str], leaving: Leaving
) -> None:
    """Somebody took the run for dead while it wrote snapshots: those that are not whole go."""
    repository = at_copy(opened(), copy)
    needs = {}
    for digest in map(names.digest_of, snapshots):
        manifest = (leaving.snapshots or {}).get(digest)
        needs[digest] = need_of(manifest or catalog.manifest(repository, digest))
    take_back_unless_whole(repository, run, needs)
