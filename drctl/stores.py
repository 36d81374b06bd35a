"""A plan's repositories: their storages with the wrappers around them, their locks, their keys."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from drctl.clock import Clock, Randomness, SystemClock, system_randomness
from drctl.codec import keys
from drctl.codec.keys import Secrets, WriterCredential
from drctl.codec.recipients import Identity
from drctl.errors import KeyUnavailable, UsageError
from drctl.events import Notice, Reporter
from drctl.homes import state_home
from drctl.ops.copying import bring_up_to_date
from drctl.ops.lock import always_needed, keep_locked, tell_lost
from drctl.ops.replicate import ReplicateResult
from drctl.places import Places, limited, rule_of
from drctl.plan import LoadedPlan
from drctl.plan.model import Keep, RepositoryPart
from drctl.plan.placed import GIVEN
from drctl.plan.secrets import resolve
from drctl.repository import lifecycle, names, there
from drctl.repository.locks import LockBook, last_of
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.storage.base import Storage
from drctl.storage.cache import Cache
from drctl.storage.early import Early
from drctl.storage.retry import Retry
from drctl.storage.s3 import S3
from drctl.storage.s3_lock import LockedS3
from drctl.units import parse_duration, show_instant
from drctl.workers import pool_of_its_own

LAPSED_HINT = "give repositories.{} the 'lock' that it had, then: drctl backup"
_CACHED = (names.INDEX, names.SNAPSHOTS)


@dataclass(frozen=True, slots=True)
class Stores:
    """A plan, and the world that it is carried out in, as far as repositories need it."""

    loaded: LoadedPlan
    report: Reporter
    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = system_randomness
    kept: dict[str, str] | None = field(default=None, repr=False)  # secrets of a recovery kit
    as_of_ns: int | None = None  # read buckets as they were then
    _locked: dict[str, dict[str, int]] = field(default_factory=dict)  # by repository: LockBook
    _lapsing: dict[str, int] = field(default_factory=dict)  # locked until then by another plan
    _lapsed: dict[str, str] = field(default_factory=dict)  # those that somebody was warned of

    # -- repositories -------------------------------------------------------------------------

    def primary(self) -> str:
        """The repository that backups are written to: the first that is no copy."""
        found = self.loaded.plan.repositories
        return next(name for name, part in found.items() if part.copy_of is None)

    def others(self) -> list[str]:
        """Every other repository; each is made to hold what the primary holds."""
        return [name for name in self.loaded.plan.repositories if name != self.primary()]

    def part(self, name: str) -> RepositoryPart:
        """Raises UsageError for a repository that the plan does not have."""
        found = self.loaded.plan.repositories
        if name not in found:
            raise UsageError(
                f"the plan has no repository '{name}'", hint=f"it has {', '.join(found)}"
            )
        return found[name]

    def storage(self, name: str) -> Storage:
        """A repository's storage with its wrappers."""
        bare = limited(self.part(name), self.bare_storage(name), self.clock)
        return Retry(bare, self.clock, tell=self.warn)

    def replicated(self, name: str) -> Storage:
        """A repository's storage, to be copied from. A restore is never held back."""
        bare = limited(self.part(name), self.bare_storage(name), self.clock, reading=True)
        return Retry(bare, self.clock, tell=self.warn)

    def bare_storage(self, name: str) -> Storage:
        """The same without wrappers."""
        return self.lockable(name) or self.unlocked(name)

    def unlocked(self, name: str) -> Storage:
        """The same where nothing that is written is locked: for what is written to try it."""
        return self.places().bare(self.part(name), partial(self._lapsing.__setitem__, name))

    def past(self, name: str) -> Callable[[int], Storage]:
        """Opens a repository's storage as it was at an instant."""
        return lambda at_ns: replace(self, as_of_ns=at_ns).unlocked(name)

    def places(self) -> Places:
        return Places(self.loaded.base, self.kept, self.as_of_ns)

    # -- locks --------------------------------------------------------------------------------

    def lockable(self, name: str) -> LockedS3 | None:
        """A repository's storage that locks; None where the plan asks for no lock."""
        written = self._locked.setdefault(name, {})
        return self.places().locked(self.part(name), self.clock, written)

    def _book(self, name: str) -> LockBook | None:
        storage = self.lockable(name)
        if storage is None:
            return None
        return LockBook(_book_path(storage), storage, self.clock, Retry(storage, self.clock).again)

    def _holding(self, name: str, repository: Repository) -> Repository:
        """Before a snapshot is committed, all that it needs is locked for its whole period."""
        book = self._book(name)
        if book:

            def hold(needed: Iterable[str]) -> None:
                with pool_of_its_own() as work:
                    lost = book.hold([*always_needed(repository), *needed], work)
                tell_lost(repository, lost, self.report)

            repository.hold = hold
        return repository

    def keep_locked(self, name: str, work: ThreadPoolExecutor) -> None:
        """After snapshots came to a repository: see to it that their locks are whole. Does nothing
        where the plan asks for no lock. Raises StorageError, KeyUnavailable."""
        book = self._book(name)
        if book:
            opened = self.as_writer(name)
            keep_locked(opened, book, self.clock.now_ns(), work, self.report)

    def lapsed(self) -> dict[str, str]:
        """The repositories that are locked and that this plan has no lock for, as far as they were
        written to or looked at, with what is wrong."""
        return dict(self._lapsed)

    def tell_if_lapsed(self, name: str) -> None:
        """A plan that lost its `lock` writes what anybody can destroy, beside what nobody can. When
        the locks that are there have run out, it is taken for what is wanted. Asks nobody: it is
        known of a repository whose config was read."""
        until_ns = self._lapsing.get(name, 0)
        if name in self._lapsed or name == GIVEN or self.part(name).lock is not None:
            return
        if until_ns > self.clock.now_ns():
            self._lapsed[name] = _lapse(name, until_ns)
            self.warn(f"{self._lapsed[name]}; {LAPSED_HINT.format(name)}")

    def remembered_lapses(self) -> dict[str, str]:
        """The same as far as this host remembers what it locked: nobody is asked."""
        found = {}
        for name, part in self.loaded.plan.repositories.items():
            if part.s3 and part.lock is None:
                until_ns = last_of(_book_path(S3(part.s3.bucket, part.s3.prefix)))
                if until_ns > self.clock.now_ns():
                    found[name] = _lapse(name, until_ns)
        return found

    def cached_storage(self, name: str) -> Storage:
        """The same, with what is small and never changes kept here, where it is far away."""
        storage = self.storage(name)
        if self.part(name).path is not None or self.as_of_ns is not None:
            return storage
        directory = os.path.join(state_home(), "cache", there.place_digest(storage))
        return Cache(storage, directory, _CACHED)

    def aside(self, name: str) -> str | None:
        """Where what a restore fetched is put aside; None where the repository is near."""
        return None if self.part(name).path is not None else os.path.join(state_home(), "cache")

    def as_writer(self, name: str, *, fresh: bool = False) -> Repository:
        """A repository opened with the host's writer credential; `fresh`: without the cache."""
        storage = self.storage(name) if fresh else self.cached_storage(name)
        credential = self.credential()
        opened = lifecycle.open_as_writer(storage, credential, self.randomness, self.warn)
        there.note(storage)
        self.tell_if_lapsed(name)
        return self._holding(name, opened)

    def as_reader(self, name: str, identity: Identity, *, fresh: bool = False) -> Repository:
        """A repository opened with nothing but an identity; `fresh`: without the cache."""
        storage = self.storage(name) if fresh else self.cached_storage(name)
        return lifecycle.open_as_reader(storage, identity, self.randomness)

    def to_read(self, name: str, identity: Identity) -> Repository:
        """The same for who does nothing but read: its config may be lost."""
        storage = self.cached_storage(name)
        return lifecycle.open_to_read(storage, identity, self.randomness, self.warn)

    def to_be_loaded(self, name: str, identity: Identity, *, fresh: bool = False) -> Repository:
        """The same for who then loads its index and its snapshots: where it is far away, it was
        asked for what that takes all at once."""
        storage = self.storage(name) if fresh else self.cached_storage(name)
        if self.part(name).path is None:
            key = names.KEYS + identity.recipient().fingerprint
            storage = Early(storage, (names.CONFIG, key), names.LOADED)
        return lifecycle.open_to_read(storage, identity, self.randomness, self.warn)

    def rule(self, name: str) -> Rule | None:
        """What a repository is to keep; None: everything."""
        return rule_of(self.part(name))

    def replicate(
        self,
        name: str,
        work: ThreadPoolExecutor,
        source: Storage | None = None,
        *,
        proving: bool = False,
    ) -> ReplicateResult:
        """Bring a copy up to date, from the primary or another source; `proving`: what it holds is
        read there, whatever is kept of it here. Raises StorageError, IntegrityError."""
        origin = source or self.replicated(self.primary())
        done = bring_up_to_date(
            origin,
            self.storage(name) if proving else self.cached_storage(name),
            lambda: lifecycle.open_as_writer(origin, self.credential(), self.randomness),
            self.rule(name),
            work,
            self.clock,
            self.randomness,
            self.report,
            secrets=self._secrets(),
            proving=proving,
        )
        self.tell_if_lapsed(name)
        return done

    def _secrets(self) -> Secrets | None:
        """What a copy is made with, where it is at hand; none is needed."""
        try:
            return self.credential().secrets
        except KeyUnavailable:
            return None

    def grace_seconds(self, name: str) -> float:
        """How long what a repository removed can be had back."""
        return parse_duration((self.part(name).keep or Keep()).grace)

    def warn(self, what: str) -> None:
        self.report.emit(Notice("warning", what))

    # -- keys ---------------------------------------------------------------------------------

    def credential(self) -> WriterCredential:
        """Raises KeyUnavailable."""
        reference = self.loaded.plan.keys.credential
        try:
            return keys.decode_credential(resolve(reference, self.loaded.base))
        except KeyUnavailable as error:
            path = self.loaded.credential_path()
            where = path or reference.partition(":")[0]
            hint = error.hint or "restore it from its copy, or see 'drctl key'"
            if path and not os.path.exists(path):
                hint = f"was it lost? 'drctl key credential {path}', with an identity, makes it"
            what = error.what if where in error.what else f"{where}: {error.what}"
            raise KeyUnavailable(what, hint=hint) from error


def _lapse(name: str, until_ns: int) -> str:
    return (
        f"{name}: what is there is locked, until {show_instant(until_ns)}, and the plan has no "
        "lock for it: what is written now can be destroyed"
    )


def _book_path(storage: Storage) -> str:
    return os.path.join(state_home(), f"{there.place_digest(storage)}.locks")
