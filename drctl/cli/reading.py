"""What the commands that read snapshots share: open the repository, pick a snapshot."""

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from msgspec import Struct

from drctl.cli.context import Context, instant
from drctl.cli.emptied import way_back
from drctl.cli.newest import Known, Sought, having_newest
from drctl.codec.entries import Root
from drctl.codec.recipients import Identity
from drctl.engines import engine
from drctl.engines.base import LATEST, Goal, Target
from drctl.errors import DrctlError, StorageError, TargetRefused, UsageError
from drctl.events import Notice
from drctl.model import Snapshot
from drctl.ops import logway
from drctl.ops.restore import RestoreResult, restore
from drctl.ops.select import wanted_paths
from drctl.ops.whose import last_break
from drctl.plan.model import engine_of
from drctl.repository import catalog, lifecycle, names, suspects, trash
from drctl.repository.log import LogReader
from drctl.repository.reader import Reader
from drctl.repository.repository import Repository
from drctl.storage.base import is_there
from drctl.units import show_instant
from drctl.wiring import Wiring

_DIGITS = re.compile("[0-9a-f]{4,64}")  # of a snapshot's id
_WAYS = {
    names.SNAPSHOTS: ": 'drctl restore {typed} --to TARGET --from {name}'",
    names.TRASHED: " in its trash: 'drctl undelete {typed}' brings it back",
}


_OTHER = "whoever wants the newest names it: {}"


class Opened(Struct, frozen=True):
    """A repository that is open for reading."""

    wiring: Wiring
    repository: Repository
    reader: Reader
    found: catalog.Catalog
    pool: ThreadPoolExecutor
    identity: Identity
    name: str

    def pick(self, wanted: str, at_ns: int | None = None, other: str = _OTHER) -> Snapshot:
        """See catalog.pick. What speaks against it is told; `other`: how the newest is had where
        that is suspect, and passed over."""
        assets = tuple(self.wiring.loaded.plan.assets)
        try:
            picked = catalog.pick(self.found, wanted, at_ns, assets, self.host)
        except UsageError as error:
            is_known = any(s.name.startswith(wanted.lower()) for s in self.found.snapshots)
            hint = "" if is_known else where_it_is(self.wiring, wanted)
            raise UsageError(error.what, hint=hint or error.hint) from error
        except StorageError as error:
            name = wanted.partition("@")[0]
            back = way_back(self.wiring, self.name, self.repository, self.found, name)
            hint = "" if self.found.damaged else back
            raise StorageError(error.what, hint=hint or error.hint) from error
        for doubt in self.found.doubts(picked, self.wiring.clock.now_ns()):
            self.wiring.warn(doubt)
        self._tell_suspects(wanted, picked, at_ns, other)
        if wanted == picked.asset:
            self._tell_host(picked, at_ns)
            self._tell_another(picked)
        return picked

    def _tell_suspects(self, wanted: str, picked: Snapshot, at_ns: int | None, other: str) -> None:
        among = self.found.beside(picked, at_ns)
        is_asset = wanted.partition("@")[0] == picked.asset
        told = suspects.doubt(picked, among, other) if is_asset else ""
        for text in filter(None, (suspects.warning(picked, among), told)):
            self.wiring.warn(text)

    @property
    def host(self) -> str:
        """What this machine is called in snapshots."""
        return self.wiring.loaded.host

    def _tell_host(self, picked: Snapshot, at_ns: int | None) -> None:
        """Whose snapshot it is, where that is not plain."""
        asset, last = picked.asset, self.found.of(picked.asset)[-1]
        if picked.host != self.host:
            text = f"{asset}: snapshot {picked.short} is of host {picked.host}, not of this one"
            self.wiring.report.emit(Notice("info", f"{text}, {self.host}"))
        elif at_ns is None and last.host != self.host:
            text = f"{asset}: host {last.host} has saved since this one, {self.host}, did"
            self.wiring.warn(f"{text}; its newest, {last.short}, is '{asset}@{last.host}'")

    def _tell_another(self, picked: Snapshot) -> None:
        """Where not all that is there under its name is of one thing."""
        if found := last_break(self.found.line(picked.asset, picked.host)):
            before, after, how = found
            self.wiring.warn(
                f"{picked.asset}: {after.short} of {show_instant(after.consistent_at_ns)} is {how}"
                f", as {before.short} was before it: the plan was changed, or another saves here "
                f"under this name. {picked.short} is used; another is had by its id"
            )

    def leading_to(self, picked: Snapshot, goal: Goal) -> Snapshot:
        """The newest sound snapshot, not after `picked`, from which its log leads to the goal."""
        return self.leading(catalog.before(self.found, picked), goal) or picked

    def leading(self, bases: Sequence[Snapshot], goal: Goal) -> Snapshot | None:
        """The first of these snapshots of one log from which it leads to the goal; None: no one, or
        the goal is none that is looked for."""
        stream = bases[0].facts.get("log_stream") if bases else ""
        choose = engine(bases[0].engine).choose if stream else None
        if choose is None or not stream:
            return None
        log = LogReader(self.repository, self.identity, stream)
        around = self.wiring.surroundings(log, goal)
        number = choose((self.root(base).private_facts for base in bases), around)
        return None if number is None else bases[number]

    def root(self, snapshot: Snapshot) -> Root:
        """The root of a snapshot's entries."""
        return self.reader.root(snapshot.root)

    def target(
        self,
        snapshot: Snapshot,
        root: Root,
        to: str,
        goal: Goal = LATEST,
        *,
        delta: bool = False,
    ) -> Target:
        """Where a snapshot is put back, with the log that continues it."""
        stream = snapshot.facts.get("log_stream")
        log = LogReader(self.repository, self.identity, stream) if stream else None
        facts = root.private_facts
        own = self._settings(snapshot)
        return self.wiring.target(snapshot.engine, to, facts, log, goal, delta=delta, own=own)

    def _settings(self, snapshot: Snapshot) -> object:
        """What the plan says of a snapshot's asset; None where it does not have it any more."""
        part = self.wiring.loaded.plan.assets.get(snapshot.asset)
        kind, settings = engine_of(part) if part else ("", None)
        return settings if kind == snapshot.engine else None

    def _tell_begun_anew(self, picked: Snapshot, goal: Goal) -> None:
        """What a person expects to come back, and does not."""
        listed = self.repository.storage.list
        if goal.kind == "latest" and logway.is_begun_anew(picked, lambda t: next(listed(t), None)):
            self.wiring.warn(
                f"{picked.asset}: {logway.BEGUN_ANEW}: what was committed since is in a log of its "
                f"own, and snapshot {picked.short} does not lead there, only a base that was taken "
                f"since. Where there is none, take one: drctl backup {picked.asset}"
            )

    def restore(
        self,
        picked: Snapshot,
        root: Root,
        to: str,
        goal: Goal,
        wanted: Sequence[bytes] = (),
        *,
        delta: bool = False,
    ) -> RestoreResult:
        """Put a snapshot back. What is about to be done is told before it is done."""
        refuse_repository(self.wiring, to)
        at = show_instant(picked.consistent_at_ns)
        text = f"{picked.asset} as of {at} from {self.repository.where} to {to}"
        self.wiring.report.emit(Notice("info", text))
        self._tell_begun_anew(picked, goal)
        done = restore(
            picked,
            self.reader,
            self.target(picked, root, to, goal, delta=delta),
            self.pool,
            self.wiring.clock,
            self.wiring.report,
            wanted,
        )
        if done.damaged:
            self._tell_if_removed(picked)
        return done

    def _tell_if_removed(self, picked: Snapshot) -> None:
        """What a prune took meanwhile is no damage."""
        if not is_there(self.repository.storage, names.SNAPSHOTS + picked.name):
            self.wiring.warn(
                f"snapshot {picked.short} was removed from {self.repository.where} meanwhile: what "
                "did not come back was removed with it, and is not damaged; take another snapshot"
            )

    def paths(self, root: Root, typed: tuple[str, ...]) -> list[bytes]:
        """What a person typed, as paths of the snapshot's entries. Raises UsageError."""
        return wanted_paths(self.reader, root, [os.fsencode(path) for path in typed])


def refuse_repository(wiring: Wiring, to: str) -> None:
    """What lies in a repository's directory is the repository's alone. Raises TargetRefused."""
    target = os.path.realpath(to)
    for name, part in wiring.loaded.plan.repositories.items():
        if part.path is None:
            continue
        top = os.path.realpath(os.path.join(wiring.loaded.base, part.path))
        if os.path.commonpath((top, target)) == top:
            raise TargetRefused(
                f"{to} lies in the repository {name}, {top}", hint="name a place outside of it"
            )


def open_for_reading(
    context: Context,
    repository: str | None,
    identity_path: str | None,
    typed: Sequence[str],
    at: str | None = None,
) -> Opened:
    """Asks for the passphrase before anything slow. `typed`, `at`: what is to be read, where nobody
    names a repository."""
    wiring = context.wiring()
    order = [repository] if repository else order_of(context, wiring)
    wiring.part(order[0])
    identity = context.identity(wiring, identity_path)
    return open_newest(context, wiring, order, identity, Sought(typed, instant(wiring, at)))


def open_newest(
    context: Context, wiring: Wiring, order: Sequence[str], identity: Identity, sought: Sought
) -> Opened:
    """The first of these that answers; where that is a copy, the one that has the newest of what
    is wanted."""
    first = first_that_answers(wiring, order) if len(order) > 1 else order[0]
    opened = open_with(context, wiring, first, identity)
    best = newest_of(wiring, order, Known(first, opened.repository, opened.found), sought)
    if best == first:
        return opened
    try:
        return open_with(context, wiring, best, identity)
    except DrctlError as error:
        wiring.warn(f"{best} does not open, and {first} is read: {error.what}")
        return opened


def newest_of(wiring: Wiring, order: Sequence[str], known: Known, sought: Sought) -> str:
    """Which of these is to be read where `known` was the first that answered. What is written to
    has the newest."""
    later = order[order.index(known.name) + 1 :]
    if known.name == wiring.primary() or not later:
        return known.name
    return having_newest(wiring, known, later, sought)


def open_to_list(
    context: Context, wiring: Wiring, name: str, identity_path: str | None
) -> Repository:
    """Listing needs the writer credential only, which asks for no passphrase. An identity serves
    where one was given, or the credential is lost."""
    path = wiring.loaded.credential_path()
    is_lost = path is not None and not os.path.exists(path)
    if identity_path or context.kit() or is_lost:
        return wiring.to_read(name, context.identity(wiring, identity_path))
    return wiring.as_writer(name)


def open_with(
    context: Context, wiring: Wiring, name: str, identity: Identity, *, fresh: bool = False
) -> Opened:
    """The same with an identity that is at hand; `fresh`: without what this host keeps of it."""
    opened = wiring.to_be_loaded(name, identity, fresh=fresh)
    pool = context.pool()

    def damaged(what: str) -> None:
        wiring.report.emit(Notice("warning", what))

    index = opened.load_index(damaged, pool)
    found = catalog.load(opened, pool)
    for what in found.damaged:
        damaged(what)
    reader = Reader(opened, index, identity, wiring.aside(name))
    return Opened(wiring, opened, reader, found, pool, identity, name)


def where_it_is(wiring: Wiring, typed: str, *, reading: bool = True) -> str:
    """Which repositories of the plan have a snapshot, for who looked elsewhere: one with another
    rule may keep it longer; with `reading`, how it is had from there. Empty: none that answers."""
    if not _DIGITS.fullmatch(typed.lower()):
        return ""
    told = []
    for name in wiring.loaded.plan.repositories:
        with suppress(DrctlError):
            for folder, way in _WAYS.items():
                listed = trash.listed(wiring.storage(name), folder)
                if any(digest.startswith(typed.lower()) for digest in listed):
                    how = way.format(name=name, typed=typed) if reading else ""
                    told.append(f"{name} has it{how}")
                    break
    return "; ".join(told)


def source_of(context: Context, wiring: Wiring, repository: str | None) -> str:
    """The repository to read: the one of `--from`, else the first that answers of all that may be
    meant. Raises UsageError, StorageError."""
    order = [repository] if repository else order_of(context, wiring)
    wiring.part(order[0])
    return order[0] if len(order) == 1 else first_that_answers(wiring, order)


def order_of(context: Context, wiring: Wiring) -> list[str]:
    """What may be meant where no repository was named. Who holds a kit has lost the first, most
    likely."""
    return [*wiring.others(), wiring.primary()] if context.kit() else [wiring.primary()]


def first_that_answers(wiring: Wiring, names: Iterable[str]) -> str:
    """What hinders the others is told; when none answers, the first one's error is what matters.
    One that lost its config is read where no other is there."""
    errors: list[DrctlError] = []
    headless: list[str] = []
    for name in names:
        try:
            if lifecycle.exists(wiring.storage(name)):
                return name
            if lifecycle.is_in_use(wiring.storage(name)):
                headless.append(name)
            errors.append(StorageError(f"{name}: there is no repository"))
        except DrctlError as error:
            errors.append(error)
        wiring.report.emit(Notice("warning", f"{name} is passed over: {errors[-1].what}"))
    if headless:
        return headless[0]
    raise errors[0]
