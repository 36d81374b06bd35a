"""The only place that builds objects from a plan and stacks wrappers around them: its repositories
(`stores`), and here its assets."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from drctl.codec.logpiece import stream_id
from drctl.engines import engine
from drctl.engines.base import (
    LATEST,
    Follower,
    Goal,
    Log,
    LogSink,
    Marker,
    Probe,
    Surroundings,
    Target,
)
from drctl.engines.throttle import Throttled
from drctl.errors import UsageError
from drctl.events import Reporter
from drctl.homes import state_home
from drctl.ops.backup import Around, Asset
from drctl.ops.group import Group
from drctl.ops.recovery.box import HOME, sweep
from drctl.plan.model import engine_of
from drctl.plan.secrets import resolve
from drctl.private import make_directory, sweep_passing
from drctl.repository.log import LogWriter
from drctl.repository.repository import Repository
from drctl.repository.state import StateFile, exclusive
from drctl.storage.throttle import Pace
from drctl.stores import Stores
from drctl.units import parse_duration, parse_rate


@dataclass(frozen=True, slots=True)
class Wiring(Stores):
    """A plan, and the world that it is carried out in."""

    # -- assets -------------------------------------------------------------------------------

    def asset(self, name: str, scratch: str, repository: Repository | None = None) -> Asset:
        """To be stored in `repository`. Raises UsageError for an asset that is not in the plan."""
        found = self.loaded.plan.assets
        if name not in found:
            raise UsageError(f"the plan has no asset '{name}'", hint=f"it has {', '.join(found)}")
        kind, settings = engine_of(found[name])
        around = self.surroundings(scratch=scratch)
        if repository:
            around = replace(around, open_log=self.log_of(name, repository))
        source = engine(kind).source(settings, name, around)
        part: Any = found[name]
        if part.throttle:
            source = Throttled(source, Pace(parse_rate(part.throttle.read), self.clock))
        in_order = engine(kind).in_order
        reread = getattr(settings, "reread", None)
        return Asset(name, kind, source, part.compression, part.tags, in_order, reread)

    def streamed(self) -> tuple[str, ...]:
        """The assets whose plan says that their log is kept."""
        found = self.loaded.plan.assets.items()
        return tuple(n for n, part in found if getattr(engine_of(part)[1], "stream", False))

    def follower(self, name: str, repository: Repository, report: Reporter) -> Follower:
        """What stores an asset's log. Raises UsageError for one whose engine keeps none."""
        found = self.loaded.plan.assets
        if name not in found:
            raise UsageError(f"the plan has no asset '{name}'", hint=f"it has {', '.join(found)}")
        kind, settings = engine_of(found[name])
        make = engine(kind).follower
        if make is None:
            raise UsageError(f"'{name}' cannot be streamed: the engine {kind} keeps no log")
        around = self.surroundings()
        around = replace(around, report=report, open_log=self.log_of(name, repository))
        return make(settings, name, around)

    def units(self) -> tuple[str, ...]:
        """What a run of everything takes, in the plan's order: each asset, and in the place of
        those that belong together, once, their group."""
        plan = self.loaded.plan
        group_of = {asset: name for name, group in plan.groups.items() for asset in group.assets}
        return tuple(dict.fromkeys(group_of.get(asset, asset) for asset in plan.assets))

    def group(self, name: str) -> Group:
        """A group for one run: a recovery point of its own."""
        most = self.loaded.plan.groups[name].max_skew
        skew_seconds = parse_duration(most) if most else None
        return Group(name, self.randomness(8).hex(), skew_seconds)

    def log_of(self, asset: str, repository: Repository) -> Callable[[str], LogSink]:
        """What opens the sink of an asset's log, given what identifies the source for ever."""

        def open_log(source: str) -> LogSink:
            return LogWriter(repository, stream_id(repository.secrets, asset, source))

        return open_log

    def target(
        self,
        kind: str,
        to: str,
        private_facts: dict[str, str],
        log: Log | None = None,
        goal: Goal = LATEST,
        *,
        delta: bool = False,
        own: object = None,
    ) -> Target:
        """Where an asset of this kind is put back; `private_facts`: what its snapshot tells, `log`:
        what continues it up to `goal`. `own`: what the plan says of it, if it does."""
        around = replace(self.surroundings(log, goal), delta=delta)
        return engine(kind).target(own, to, private_facts, around)

    def probe(self, asset: str, at: str) -> Probe:
        """What puts a restored asset up at a place, privately."""
        kind, settings = engine_of(self.loaded.plan.assets[asset])
        return engine(kind).probe(settings, at, self.surroundings())

    def hollow(self, asset: str) -> Callable[[str], None] | None:
        """What makes an empty asset of its kind at a place, where its engine knows how."""
        kind, settings = engine_of(self.loaded.plan.assets[asset])
        make = engine(kind).hollow
        if make is None:
            return None

        def hollow(at: str) -> None:
            make(settings, at, self.surroundings())

        return hollow

    def marker(self, asset: str) -> Marker | None:
        """What marks the live asset, where the plan wants it marked."""
        kind, settings = engine_of(self.loaded.plan.assets[asset])
        make = engine(kind).marker
        if make is None or not getattr(settings, "mark", False):
            return None
        return make(settings, asset, self.surroundings())

    def surroundings(
        self, log: Log | None = None, goal: Goal = LATEST, *, scratch: str = ""
    ) -> Surroundings:
        """What an engine may use, with an asset's log where it is restored."""
        base = self.loaded.base

        def secret(reference: str) -> str:
            return resolve(reference, base)

        return Surroundings(
            self.clock, self.report, base, scratch, log=log, goal=goal, secret=secret
        )

    # -- state --------------------------------------------------------------------------------

    @contextmanager
    def around(
        self, asset: str, repository: Repository, work: ThreadPoolExecutor
    ) -> Iterator[tuple[Around, str]]:
        """What a backup of one asset runs in, and its scratch directory. Raises Busy."""
        home = os.path.join(state_home(), repository.secrets.repository_id.hex())
        scratch = os.path.join(home, f"{asset}.scratch")
        with exclusive(os.path.join(home, f"{asset}.lock"), f"a backup of {asset}"):
            make_directory(scratch)
            state = StateFile(os.path.join(home, f"{asset}.state"))
            digest = self.loaded.digest
            made = Around(repository, state, work, self.clock, self.report, digest)
            yield replace(made, host=self.loaded.host), scratch


def drill_home(wiring: Wiring, directory: str | None = None) -> str:
    """Where drills have their private places."""
    if directory:
        return os.path.join(wiring.loaded.base, directory)
    return os.path.join(state_home(), HOME)


def sweep_drills(wiring: Wiring) -> None:
    """Remove what a killed drill left, wherever this plan has its drills."""
    own = {part.directory for part in wiring.loaded.plan.drills.values()}
    for directory in {None, *own}:
        sweep(drill_home(wiring, directory), wiring.warn)
    sweep_passing()
