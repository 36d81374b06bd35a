"""Files: directory trees as they stand, entry by entry.

The consistent point is the start of the walk. Each file is read whole and unchanged, or the
snapshot says that it was not; the tree as a whole is not frozen. For that, take a snapshot of the
file system and name it here.
"""

import grp
import json
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field, field_validator

from drctl.engines import roots
from drctl.engines.base import Engine, Health, Item, Surroundings
from drctl.engines.patterns import Patterns, compile_patterns
from drctl.engines.tree_look import Directory, reason
from drctl.engines.tree_read import TreeItem, Walk, things_in
from drctl.engines.tree_write import TreeTarget
from drctl.engines.unfinished import refuse_to_save
from drctl.engines.values import Flag, Period, PlanPath
from drctl.errors import SourceError, TargetRefused, UsageError
from drctl.model import sort_key
from drctl.units import count, show_path


class Settings(BaseModel):
    """What the plan says under `files`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[PlanPath, ...] = Field(
        min_length=1, description="Directories or files to protect."
    )
    exclude: Patterns = Field(
        default=(), description="Patterns of what is left out, as in .gitignore."
    )
    one_file_system: Flag = Field(
        default=False, description="Do not enter other file systems mounted below the paths."
    )
    exclude_caches: Flag = Field(
        default=False, description="Leave out the content of directories with a CACHEDIR.TAG."
    )

    reread: Period = Field(
        default="30d", description="Within which each file is read again, also unchanged."
    )

    @field_validator("paths")
    @classmethod
    def _paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if any(not path or "\0" in path for path in paths):
            raise ValueError("a path must not be empty")
        return paths


class Source:
    """Reads trees; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        yield _Capture(self._settings, self._asset, self._around)


class _Capture:
    """A walk over the roots; see engines.base.Capture."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self.consistent_at_ns = around.clock.now_ns()
        self._asset = asset
        self._roots = [_root(path, around.base) for path in settings.paths]
        for root in self._roots:
            refuse_to_save(asset, root)
        self._mounted = frozenset(root for root in self._roots if _is_mounted(root))
        self._name = os.path.basename(os.fsencode(os.path.normpath(settings.paths[0]))) or b"."
        self._walk = Walk(
            self.consistent_at_ns,
            compile_patterns(settings.exclude),
            settings.one_file_system,
            settings.exclude_caches,
            _inner_roots(self._roots),
        )

    @property
    def facts(self) -> dict[str, str]:
        """How each path was found: one whose disk is not mounted looks like an empty one."""
        return {roots.FACT: roots.tell(map(self._found, self._roots))}

    def _found(self, root: bytes) -> roots.Root:
        path = _path_of(root) if len(self._roots) > 1 else b"."
        is_empty = path in self._walk.empty
        return roots.Root(roots.digest(root), is_empty, root in self._mounted)

    @property
    def private_facts(self) -> dict[str, str]:
        owners = {str(uid): _user(uid) for uid in sorted(self._walk.uids)}
        groups = {str(gid): _group(gid) for gid in sorted(self._walk.gids)}
        paths = [os.fsdecode(root) for root in self._roots]  # exact, also where not UTF-8
        return {
            "roots": json.dumps(paths),
            "owners": json.dumps(owners),
            "groups": json.dumps(groups),
        }

    def items(self) -> Iterator[Item]:
        if len(self._roots) == 1:
            yield from self._tree(self._roots[0], self._name, b"")
            return
        told = {b"", b"."}
        for root in self._outermost():
            path = _path_of(root)
            yield from self._parents(path, told)
            yield from self._tree(root, path, b"" if path == b"." else path + b"/")
        self._all_met()

    def _tree(self, root: bytes, path: bytes, prefix: bytes) -> Iterator[Item]:
        """A root and what is below. Alone it is `.` when it is a directory."""
        item = self._item(path, root)
        if not stat.S_ISDIR(item.found.st_mode):
            yield item
            return
        if not prefix:
            item.path = b"."
        yield from self._walk.below(item, prefix)

    def _outermost(self) -> list[bytes]:
        """The roots that are not below another, in the order of their entries."""
        inner = self._walk.roots
        paths = {_path_of(root): root for root in self._roots}
        return [paths[path] for path in sorted(paths, key=sort_key) if path not in inner]

    def _parents(self, path: bytes, told: set[bytes]) -> Iterator[Item]:
        """The directories above a root, each once."""
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if parent not in told:
                told.add(parent)
                yield self._item(parent, b"/" + parent)

    def _item(self, path: bytes, root: bytes) -> TreeItem:
        try:
            found = os.lstat(root)
        except OSError as error:
            raise SourceError(
                f"{self._asset}: {show_path(root)}: {reason(error)}",
                hint="is its disk mounted? A path that is gone for good must leave the plan",
            ) from error
        above, name = os.path.split(root)
        return self._walk.item(path, Directory(above.rstrip(b"/")), name or b".", found)

    def _all_met(self) -> None:
        """A root below another one is found on the way, unless a pattern hides it."""
        missing = sorted(self._walk.roots - self._walk.met)
        if missing:
            raise SourceError(
                f"{self._asset}: /{show_path(missing[0])} is not below the path that holds it",
                hint="an exclude pattern hides the way to it, or it has gone",
            )


def _inner_roots(roots: list[bytes]) -> frozenset[bytes]:
    """The paths of roots that lie below another root."""
    paths = {root.strip(b"/") for root in roots}
    return frozenset(
        path
        for path in paths
        for other in paths
        if path != other and (path.startswith(other + b"/") or not other)
    )


def _root(path: str, base: str) -> bytes:
    """A root is followed when it is a symbolic link; nothing below it is."""
    return os.path.realpath(os.fsencode(os.path.join(base, path)))


def _path_of(root: bytes) -> bytes:
    """Under which one of several roots stands in the snapshot."""
    return root.strip(b"/") or b"."


def _is_mounted(root: bytes) -> bool:
    try:
        return roots.is_mounted(root)
    except OSError:
        return False  # the walk tells why


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return ""


def target(
    _: Settings | None, to: str, _facts: dict[str, str], _around: Surroundings
) -> TreeTarget:
    """Restores below the directory `to`."""
    return TreeTarget(to)


class Probe:
    """A tree is up when it is there; see engines.base.Probe and Standing."""

    def __init__(self, _: Settings, at: str, _around: Surroundings) -> None:
        self._at = os.fsencode(at)

    @contextmanager
    def open(self) -> Iterator["Probe"]:
        if not os.path.lexists(self._at):
            raise TargetRefused(f"{show_path(self._at)} is not there")
        yield self

    def health(self) -> Health:
        entries = self.counts()["entries"]
        return Health(entries > 0, count(entries, "entry", "entries"))

    def counts(self) -> dict[str, int]:
        entries = size_bytes = 0
        for item in things_in(self._at):
            entries += 1
            size_bytes += 0 if stat.S_ISDIR(item.found.st_mode) else item.found.st_size
        return {"entries": entries, "bytes": size_bytes}

    def query(self, sql: str) -> tuple[tuple[str, ...], ...]:
        raise UsageError("a tree of files answers no SQL")

    def newest_mark_ns(self) -> int | None:
        return None

    def interrupt(self) -> None:
        pass  # all that can be asked ends by itself


ENGINE = Engine("files", Settings, Source, target, Probe)
