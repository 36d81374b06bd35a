"""What a plan allows and disaster recovery forbids: each finding with its remedy."""

import os
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from drctl.engines.files import Settings as FilesSettings
from drctl.engines.patterns import compile_patterns
from drctl.plan.lint_recovery import on_recovery
from drctl.plan.model import Keep, Plan, engine_of
from drctl.plan.schedule import parse_schedule
from drctl.plan.secrets import path_of
from drctl.plan.tree import Path, Tree, dotted
from drctl.units import parse_duration, show_seconds

_PERIODS = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")


class Finding(Struct, frozen=True):
    """One thing to think about."""

    line: int
    column: int
    where: str
    what: str

    def show(self, file: str) -> str:
        return f"{file}:{self.line}:{self.column}: {self.where}: {self.what}"


def lint(plan: Plan, tree: Tree, base: str) -> tuple[Finding, ...]:
    """In the order of the file."""
    found = [*_copies(plan), *_keys(plan, base), *_assets(plan, base), *on_recovery(plan)]
    findings = [Finding(*tree.position(path), dotted(path), what) for path, what in found]
    return tuple(sorted(findings, key=lambda f: (f.line, f.column)))


Told = Iterator[tuple[Path, str]]


def _copies(plan: Plan) -> Told:
    """Is there a copy that outlives the site?"""
    domains = {name: plan.sites[r.site].failure_domain for name, r in plan.repositories.items()}
    if len(set(domains.values())) < 2:
        yield (
            ("repositories",),
            (
                "all copies stand in one failure domain and are lost together: add a repository at "
                "another site with 'copy_of'"
            ),
        )
    for name, repository in plan.repositories.items():
        original = repository.copy_of
        if original and domains[name] == domains[original] and len(set(domains.values())) > 1:
            yield (
                ("repositories", name),
                f"a copy in the failure domain of '{original}' is lost with it: move it",
            )
        yield from _keep(name, repository.keep)


def _keep(name: str, keep: Keep | None) -> Told:
    """A rule that keeps nothing but the newest is seldom meant."""
    if keep is not None and not any(getattr(keep, period) for period in _PERIODS):
        yield (
            ("repositories", name, "keep"),
            "it keeps no history: only the newest snapshot of each asset stays; say 'last' or more",
        )


def _keys(plan: Plan, base: str) -> Told:
    """A key that lies only where the data is, is lost with the data."""
    for kind in ("credential", "identity"):
        reference = getattr(plan.keys, kind)
        path = path_of(reference, base) if reference else None
        if path is None:
            continue
        for name, repository in plan.repositories.items():
            place = repository.path and os.path.join(base, repository.path)
            if place and _is_below(path, place):
                yield ("keys", kind), f"it lies in repository '{name}': keep it elsewhere"
        if kind == "identity" and os.path.exists(path):
            yield (
                ("keys", kind),
                (
                    "it lies on this host, which it need not for backups: who takes the host reads "
                    "them all, and a fire takes both: keep it elsewhere"
                ),
            )


def _assets(plan: Plan, base: str) -> Told:
    covered: dict[str, str] = {}
    for name, asset in plan.assets.items():
        path: Path = ("assets", name)
        yield from _objectives(plan, path, asset)
        kind, settings = engine_of(asset)
        if isinstance(settings, FilesSettings):
            yield from _whole_paths(base, (*path, kind, "exclude"), settings)
            for number, root in enumerate(settings.paths):
                place = os.path.normpath(os.path.join(base, root))
                where = (*path, kind, "paths", number)
                yield from _wildcards(where, place)
                yield from _overlaps(plan, base, where, place, settings)
                if place in covered:
                    what = f"'{covered[place]}' protects it too: one of the two is enough"
                    yield where, what
                covered.setdefault(place, name)


def _objectives(plan: Plan, path: Path, asset: Any) -> Told:
    rpo = asset.rpo or plan.objectives.rpo
    if rpo is None:
        yield path, "no objective: say how much may be lost with 'rpo', here or for the plan"
    if asset.schedule is None:
        yield path, "no schedule: nobody will back it up unless somebody remembers"
        return
    if getattr(engine_of(asset)[1], "stream", False):
        return  # what is lost is decided by its log, not by how often its base is taken
    gap = parse_schedule(asset.schedule).gap_seconds
    if rpo is not None and gap > parse_duration(rpo):
        yield (
            path,
            (
                f"its schedule '{asset.schedule}' can lose {show_seconds(gap)}, more than its rpo "
                "of "
                f"{rpo}: run it more often, or change the objective"
            ),
        )


def _overlaps(plan: Plan, base: str, path: Path, place: str, settings: FilesSettings) -> Told:
    """Backing up the repository into itself never ends well."""
    for name, repository in plan.repositories.items():
        store = repository.path and os.path.normpath(os.path.join(base, repository.path))
        if store and _is_below(place, store):
            yield path, f"it lies in repository '{name}': move one of the two"
        elif store and _is_below(store, place) and not _is_excluded(store, place, settings):
            yield path, f"repository '{name}' lies in it: exclude it, or move it"


def _wildcards(path: Path, place: str) -> Told:
    """A shell would have put names in their place; nobody does here."""
    if any(mark in place for mark in "*?[") and not os.path.lexists(place):
        yield (
            path,
            "wildcards mean nothing here: name the directory, and what is left out with 'exclude'",
        )


def _whole_paths(base: str, path: Path, settings: FilesSettings) -> Told:
    """The patterns of one path begin at it."""
    if len(settings.paths) != 1:
        return
    top = os.path.join(os.path.normpath(os.path.join(base, settings.paths[0])), "")
    for number, pattern in enumerate(settings.exclude):
        if pattern.startswith(top) and top != "/":
            short = pattern.removeprefix(top.rstrip("/"))
            yield (
                (*path, number),
                f"it matches nothing: patterns begin at the asset's path: write '{short}'",
            )


def _is_excluded(store: str, place: str, settings: FilesSettings) -> bool:
    """Whether a pattern leaves out the store, or a directory on the way to it. Patterns are read
    below the one path of an asset, or below / where there are several."""
    excluded = compile_patterns(settings.exclude)
    top = place if len(settings.paths) == 1 else "/"
    above = 0 if top == place else place.count("/")
    parts = os.fsencode(os.path.relpath(store, top)).split(b"/")
    ways = [b"/".join(parts[:end]) for end in range(above + 1, len(parts) + 1)]
    tests = [test for test in (excluded.anything, excluded.directories) if test]
    return any(test(way) for test in tests for way in ways)


def _is_below(path: str, top: str) -> bool:
    path, top = os.path.normpath(path), os.path.normpath(top)
    return path == top or path.startswith(top.rstrip("/") + "/")
