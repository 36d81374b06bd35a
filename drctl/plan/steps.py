"""What must hold between the parts of a recovery, told with its place in the file."""

import os
from collections.abc import Iterator
from itertools import permutations
from typing import Any

from drctl.circles import find_circle
from drctl.plan.parameters import parameters_in
from drctl.plan.recovery import LOOKS, STEP_KINDS
from drctl.plan.tree import Path, Tree

_OF_AN_ASSET = ("sql", "integrity", "compare")
_RUNS = ("run", "undo", "http", "notify", "command", "to")


def check_recovery(tree: Tree, root: dict[str, Any]) -> None:
    """Add every problem of recovery, checks and drills to the tree."""
    steps = _mapping(_mapping(root.get("recovery")).get("steps"))
    assets = _mapping(root.get("assets"))
    known = {name: step for name, step in steps.items() if isinstance(step, dict)}
    for name, step in known.items():
        _check_step(tree, ("recovery", "steps", name), step, known, assets)
    _check_circle(tree, known)
    _check_restored_once(tree, known)
    _check_places(tree, known)
    for number, found in enumerate(_sequence(root.get("checks"))):
        if isinstance(found, dict):
            _check_look(tree, ("checks", number), found, assets)
            if "asset" not in found:
                what = "'asset' is missing; a check without one is a step: 'check' in 'recovery'"
                tree.add(("checks", number), what)
    _check_parameters(tree, root)
    for name, drill in _mapping(root.get("drills")).items():
        if isinstance(drill, dict):
            _check_drill(tree, ("drills", name), drill, root)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _names(value: Any) -> list[str]:
    return [name for name in _sequence(value) if isinstance(name, str)]


def _unknown(tree: Tree, path: Path, what: str, name: Any, known: dict[str, Any]) -> None:
    if isinstance(name, str) and name not in known:
        listed = ", ".join(known) or "none"
        many = "repositories" if what == "repository" else f"{what}s"
        tree.add(path, f"no {what} '{name}'; {many}: {listed}", at_value=True)


# -- steps ----------------------------------------------------------------------------------------


def _check_step(
    tree: Tree, path: Path, step: dict[str, Any], known: dict[str, Any], assets: dict[str, Any]
) -> None:
    kinds = [kind for kind in STEP_KINDS if kind in step]
    if len(kinds) != 1:
        found = f"not {len(kinds)}: {', '.join(kinds)}" if kinds else "none is there"
        tree.add(path, f"one of {', '.join(STEP_KINDS)} is wanted; {found}")
    for number, name in enumerate(_names(step.get("after"))):
        _unknown(tree, (*path, "after", number), "step", name, known)
    _unknown(tree, (*path, "restore"), "asset", step.get("restore"), assets)
    for key in ("to", "existing"):
        if key in step and "restore" not in step:
            tree.add((*path, key), f"'{key}' belongs to a step with 'restore'")
    if "undo" in step and "run" not in step:
        tree.add((*path, "undo"), "only a step with 'run' can be undone")
    if isinstance(step.get("check"), dict):
        _check_look(tree, (*path, "check"), step["check"], assets)
        _check_is_restored(tree, path, step["check"], known)


def _check_look(tree: Tree, path: Path, look: dict[str, Any], assets: dict[str, Any]) -> None:
    found = [key for key in LOOKS if key in look]
    if len(found) != 1:
        there = f"not {len(found)}: {', '.join(found)}" if found else "none is there"
        tree.add(path, f"one of {', '.join(LOOKS)} is wanted; {there}")
    _unknown(tree, (*path, "asset"), "asset", look.get("asset"), assets)
    for key in found:
        if key in _OF_AN_ASSET and "asset" not in look:
            tree.add((*path, key), f"'{key}' looks at an asset: say which with 'asset'")
        if key in {"sql", "http"} and "expect" not in look:
            tree.add((*path, key), "say with 'expect' what must be found")
        if key in {"integrity", "compare"} and "expect" in look:
            tree.add((*path, "expect"), f"'{key}' says itself what is right: remove 'expect'")
    if "expect" in look and look["expect"] == {}:
        tree.add((*path, "expect"), "it expects nothing: a check that cannot fail proves nothing")


def _check_is_restored(tree: Tree, path: Path, look: dict[str, Any], known: dict[str, Any]) -> None:
    """A check of an asset comes after what restores it."""
    asset = look.get("asset")
    restoring = [name for name, step in known.items() if step.get("restore") == asset]
    if asset and restoring and restoring[0] not in set(_before(str(path[-1]), known, set())):
        tree.add(path, f"it looks at '{asset}' and does not wait for '{restoring[0]}': 'after'")


def _before(name: str, known: dict[str, Any], seen: set[str]) -> Iterator[str]:
    for before in _names(known.get(name, {}).get("after")):
        if before not in seen:
            seen.add(before)
            yield before
            yield from _before(before, known, seen)


def _check_circle(tree: Tree, known: dict[str, Any]) -> None:
    circle = find_circle({name: tuple(_names(s.get("after"))) for name, s in known.items()})
    if circle:
        way = " -> ".join(circle)
        path: Path = ("recovery", "steps", circle[0], "after")
        tree.add(path, f"these steps wait for each other for ever: {way}")


def _check_restored_once(tree: Tree, known: dict[str, Any]) -> None:
    first: dict[str, str] = {}
    for name, step in known.items():
        asset = step.get("restore")
        if isinstance(asset, str):
            if asset in first:
                path: Path = ("recovery", "steps", name, "restore")
                tree.add(path, f"'{first[asset]}' restores '{asset}' already")
            first.setdefault(asset, name)


def _check_places(tree: Tree, known: dict[str, Any]) -> None:
    """A restore that is done again removes what it left: nothing else may lie there by then."""
    told = {name: step["to"] for name, step in known.items() if isinstance(step.get("to"), str)}
    places = {name: os.path.normpath(to) for name, to in told.items()}
    for one, other in permutations(places, 2):
        if _never_meet(known[one], known[other]):
            continue
        path: Path = ("recovery", "steps", other, "to")
        if places[one] == places[other] and list(places).index(one) < list(places).index(other):
            tree.add(path, f"'{one}' puts its asset there: each needs a place of its own")
        elif places[other].startswith(places[one].rstrip("/") + "/") and one not in set(
            _before(other, known, set())
        ):
            tree.add(path, f"it lies in what '{one}' puts back and does not wait for it: 'after'")


def _never_meet(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """No recovery has both: each is of modes of its own."""
    modes, others = set(_names(one.get("when"))), set(_names(other.get("when")))
    return bool(modes and others) and modes.isdisjoint(others)


# -- parameters -----------------------------------------------------------------------------------


def _check_parameters(tree: Tree, root: dict[str, Any]) -> None:
    recovery = _mapping(root.get("recovery"))
    known = _mapping(recovery.get("parameters"))
    parts = [(("recovery", "steps"), recovery.get("steps")), (("checks",), root.get("checks"))]
    for path, part in parts:
        for where, text in _texts(path, part):
            for name in parameters_in(text):
                _unknown(tree, where, "parameter", name, known)


def _texts(path: Path, part: Any) -> Iterator[tuple[Path, str]]:
    """Every text that parameters are put into."""
    if isinstance(part, str):
        if any(key in path for key in _RUNS):
            yield path, part
    elif isinstance(part, dict):
        for key, value in part.items():
            yield from _texts((*path, key), value)
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from _texts((*path, number), value)


# -- drills ---------------------------------------------------------------------------------------


def _check_drill(tree: Tree, path: Path, drill: dict[str, Any], root: dict[str, Any]) -> None:
    repositories, sites = _mapping(root.get("repositories")), _mapping(root.get("sites"))
    source = drill.get("from")
    _unknown(tree, (*path, "from"), "repository", source, repositories)
    site = _mapping(repositories.get(str(source))).get("site")
    for number, name in enumerate(_names(drill.get("deny_sites"))):
        where = (*path, "deny_sites", number)
        _unknown(tree, where, "site", name, sites)
        if name == site:
            tree.add(where, f"'{source}' stands there, which the drill restores from")
    if len(_mapping(drill.get("pick"))) > 1:
        tree.add((*path, "pick"), "one of random_within and at is wanted, not both")
