"""What must hold between the parts of a plan. Looked at in the tree, so that all mistakes are told
at once, also when others keep the model from being made."""

import os
from typing import Any

from drctl.engines import KINDS, engine
from drctl.plan.steps import check_recovery
from drctl.plan.tree import Path, Tree


def check(tree: Tree) -> None:
    """Add every problem to the tree."""
    root = tree.root if isinstance(tree.root, dict) else {}
    sites = _mapping(root.get("sites"))
    repositories = _mapping(root.get("repositories"))
    for name, repository in repositories.items():
        if isinstance(repository, dict):
            path: Path = ("repositories", name)
            _check_place(tree, path, repository)
            _check_site(tree, path, repository, sites)
            _check_copy(tree, path, repositories)
            _check_limits(tree, path, repository)
    _check_primary(tree, repositories)
    _check_same_place(tree, repositories)
    for name, asset in _mapping(root.get("assets")).items():
        if isinstance(asset, dict):
            _check_engine(tree, ("assets", name), asset)
            _check_throttle(tree, ("assets", name), asset)
    _check_groups(tree, _mapping(root.get("groups")), _mapping(root.get("assets")))
    _check_recipients(tree, _mapping(root.get("notify")).get("to"))
    check_recovery(tree, root)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _check_place(tree: Tree, path: Path, repository: dict[str, Any]) -> None:
    places = [key for key in ("path", "s3") if key in repository]
    if len(places) != 1:
        found = "both are there" if places else "none is there"
        tree.add(path, f"exactly one of 'path' and 's3' is wanted; {found}")
    elif "lock" in repository and places == ["path"]:
        tree.add((*path, "lock"), "a directory cannot be locked: only an S3 bucket can")


def _check_site(tree: Tree, path: Path, repository: dict[str, Any], sites: dict[str, Any]) -> None:
    site = repository.get("site")
    if isinstance(site, str) and site not in sites:
        known = ", ".join(sites) or "none"
        tree.add((*path, "site"), f"no site '{site}'; sites: {known}", at_value=True)


def _check_copy(tree: Tree, path: Path, repositories: dict[str, Any]) -> None:
    """A copy follows its original; it may not lead back to itself."""
    seen = [path[-1]]
    original = _mapping(repositories[str(path[-1])]).get("copy_of")
    while isinstance(original, str):
        if original in seen:
            tree.add((*path, "copy_of"), f"'{original}' leads back to itself", at_value=True)
            return
        if original not in repositories:
            if len(seen) == 1:
                tree.add((*path, "copy_of"), f"no repository '{original}'", at_value=True)
            return
        seen.append(original)
        original = _mapping(repositories[original]).get("copy_of")


def _check_limits(tree: Tree, path: Path, repository: dict[str, Any]) -> None:
    """A limit that limits nothing is half of one: what was meant is missing."""
    limits = repository.get("throttle")
    if isinstance(limits, dict) and not any(limits.values()):
        tree.add((*path, "throttle"), "it limits nothing: say 'write', 'read' or both")


def _check_primary(tree: Tree, repositories: dict[str, Any]) -> None:
    if repositories and all(_mapping(r).get("copy_of") for r in repositories.values()):
        tree.add(("repositories",), "all are copies: one must be written to")


def _check_same_place(tree: Tree, repositories: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    for name, repository in repositories.items():
        path = _mapping(repository).get("path")
        place = os.path.normpath(path) if isinstance(path, str) and path else _bucket(repository)
        if place and place in seen:
            tree.add(("repositories", name), f"the same place as '{seen[place]}'")
        elif isinstance(path, str) and path:
            _check_apart(tree, name, path, repositories)
        seen.setdefault(place, name)


def _check_apart(tree: Tree, name: str, path: str, repositories: dict[str, Any]) -> None:
    """What lies within another repository is taken for a part of it, and deleted with it."""
    for other, repository in repositories.items():
        outer = _mapping(repository).get("path")
        if other == name or not isinstance(outer, str) or not outer:
            continue
        if os.path.normpath(path).startswith(os.path.join(os.path.normpath(outer), "")):
            tree.add(("repositories", name), f"it lies within '{other}': name a place beside it")


def _bucket(repository: Any) -> str:
    s3 = _mapping(_mapping(repository).get("s3"))
    parts = (s3.get("endpoint"), s3.get("bucket"), str(s3.get("prefix") or "").strip("/"))
    return f"s3 {parts}" if s3 else ""


def _check_engine(tree: Tree, path: Path, asset: dict[str, Any]) -> None:
    found = [key for key in asset if key in KINDS]
    if len(found) == 1:
        return
    if found:
        tree.add(path, f"one engine is wanted, not {len(found)}: {', '.join(map(str, found))}")
    else:
        tree.add(path, f"no engine: say what it is with one of {', '.join(KINDS)}")


def _check_throttle(tree: Tree, path: Path, asset: dict[str, Any]) -> None:
    at_once = [kind for kind in KINDS if kind in asset and engine(kind).copies_at_once]
    if at_once and "throttle" in asset:
        tree.add(
            (*path, "throttle"),
            f"{at_once[0]} is copied in one go, which no limit reaches: remove 'throttle'",
        )


def _check_groups(tree: Tree, groups: dict[str, Any], assets: dict[str, Any]) -> None:
    """A command is given names of assets and of groups alike, and an asset is in one group, so
    that a run of everything captures it once."""
    seen: dict[str, str] = {}
    for name, group in groups.items():
        path: Path = ("groups", name)
        if name in assets:
            tree.add(path, "an asset is called so, too: give the group another name")
        members = _mapping(group).get("assets")
        for number, asset in enumerate(members if isinstance(members, list) else []):
            where = (*path, "assets", number)
            if isinstance(asset, str) and asset not in assets:
                tree.add(where, f"no asset '{asset}'; assets: {', '.join(map(str, assets))}")
            elif isinstance(asset, str) and asset in seen:
                tree.add(where, f"'{asset}' is in group '{seen[asset]}' already")
            else:
                seen[str(asset)] = name
                _check_point(tree, where, _mapping(assets.get(str(asset))))


def _check_point(tree: Tree, where: Path, asset: dict[str, Any]) -> None:
    """The instants of a group are compared before any of its assets is read."""
    for kind in KINDS:
        mode = _mapping(asset.get(kind)).get("mode")
        if mode and mode == engine(kind).late_mode:
            why = "reaches its instant only at its end, so it cannot be in a group"
            tree.add(where, f"'mode: {mode}' of {kind} {why}: remove 'mode'")


def _check_recipients(tree: Tree, recipients: Any) -> None:
    for number, found in enumerate(recipients if isinstance(recipients, list) else []):
        ways = [key for key in ("webhook", "run") if key in _mapping(found)]
        if isinstance(found, dict) and len(ways) != 1:
            there = "both are there" if ways else "none is there"
            tree.add(("notify", "to", number), f"one of 'webhook' and 'run' is wanted; {there}")
