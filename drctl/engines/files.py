"""Files: directory trees as they stand, entry by entry.

The consistent point is the start of the walk. Each file is read whole and unchanged, or the
snapshot says that it was not; the tree as a whole is not frozen. For that, take a snapshot of the
file system and name it here.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, Field, field_validator

from drctl.engines.base import Engine, Flag, Health, Surroundings
from drctl.engines.patterns import compile_patterns
from drctl.engines.tree_read import TreeItem, Walk, reason
from drctl.engines.tree_write import TreeTarget
from drctl.errors import SourceError


class Settings(BaseModel):
    """What the plan says under `files`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[str, ...] = Field(min_length=1, description="Directories or files to protect.")
    exclude: tuple[str, ...] = Field(
        default=(), description="Patterns of what is left out, as in .gitignore."
    )
    one_file_system: Flag = Field(
        default=False, description="Do not enter other file systems mounted below the paths."
    )
    exclude_caches: Flag = Field(
        default=False, description="Leave out the content of directories with a CACHEDIR.TAG."
    )

    @field_validator("paths")
    @classmethod
    def _paths(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if any(not path or "\0" in path for path in paths):
            raise ValueError("a path must not be empty")
        return paths

    @field_validator("exclude")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        compile_patterns(patterns)
        return patterns


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
        self.facts: dict[str, str] = {}
        self._asset = asset
        self._roots = [_root(path, around.base) for path in settings.paths]
        self._walk = Walk(
            self.consistent_at_ns,
            compile_patterns(settings.exclude),
            settings.one_file_system,
            settings.exclude_caches,
        )

    @property
    def private_facts(self) -> dict[str, str]:
        owners = {str(uid): _user(uid) for uid in sorted(self._walk.uids)}
        groups = {str(gid): _group(gid) for gid in sorted(self._walk.gids)}
        roots = [os.fsdecode(root) for root in self._roots]
        return {
            "roots": json.dumps(roots),
            "owners": json.dumps(owners),
            "groups": json.dumps(groups),
        }

    def items(self) -> Iterator[TreeItem]:
        if len(self._roots) == 1:
            return self._single(self._roots[0])
        return self._several(sorted(self._roots, key=lambda root: root.replace(b"/", b"\0")))

    def _single(self, root: bytes) -> Iterator[TreeItem]:
        """One root: paths are relative to it. A file is known by its name."""
        found = self._stat(root)
        if not stat.S_ISDIR(found.st_mode):
            yield self._walk.item(os.path.basename(root), root, found)
            return
        yield from self._walk.below(root, b"", self._walk.item(b".", root, found))

    def _several(self, roots: list[bytes]) -> Iterator[TreeItem]:
        """Several: whole paths, with the directories above each. One below another is in it."""
        told: set[bytes] = {b""}
        walked: list[bytes] = []
        for root in roots:
            path = root.strip(b"/")
            if any(path == top or path.startswith(top + b"/") for top in walked):
                continue
            walked.append(path)
            yield from self._parents(path, told)
            found = self._stat(root)
            item = self._walk.item(path, root, found)
            if stat.S_ISDIR(found.st_mode):
                yield from self._walk.below(root, path + b"/", item)
            else:
                yield item

    def _parents(self, path: bytes, told: set[bytes]) -> Iterator[TreeItem]:
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            parent = b"/".join(parts[:depth])
            if parent not in told:
                told.add(parent)
                yield self._walk.item(parent, b"/" + parent, self._stat(b"/" + parent))

    def _stat(self, root: bytes) -> os.stat_result:
        try:
            return os.lstat(root)
        except OSError as error:
            raise SourceError(
                f"{self._asset}: {os.fsdecode(root)}: {reason(error)}",
                hint="is its disk mounted? A path that is gone for good must leave the plan",
            ) from error


def _root(path: str, base: str) -> bytes:
    """A root is followed when it is a symbolic link; nothing below it is."""
    return os.path.realpath(os.fsencode(os.path.join(base, path)))


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group(gid: int) -> str:
    import grp

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
    """Counts what stands at a place; see engines.base.Probe."""

    def __init__(self, _: Settings, at: str) -> None:
        self._at = os.fsencode(at)

    def check(self) -> Health:
        entries = size_bytes = 0
        for top, directories, names in os.walk(self._at):
            entries += len(directories) + len(names)
            size_bytes += sum(os.lstat(os.path.join(top, name)).st_size for name in names)
        facts = {"entries": str(entries), "bytes": str(size_bytes)}
        return Health(entries > 0, f"{entries} entries, {size_bytes} bytes", facts)


ENGINE = Engine("files", Settings, Source, target, Probe)
