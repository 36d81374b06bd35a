"""btrfs: a subvolume as it stood at one instant, by a read-only snapshot that is read as files.

The snapshot stands in the subvolume itself while it is read, under a name that says whose it is. It
is removed afterwards, whatever happens; what a killed run left is removed by the next one.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from drctl.engines import files
from drctl.engines.base import Capture, Engine, Item, PlainItem, Surroundings
from drctl.engines.child import find_program, running
from drctl.engines.patterns import Patterns
from drctl.engines.tree_look import reason
from drctl.engines.tree_read import TreeItem
from drctl.engines.tree_write import TreeTarget
from drctl.engines.values import PlanPath
from drctl.errors import SourceError

_STUB_INODE = 2  # what stands in a snapshot where another subvolume was
_NESTED = "a subvolume in a subvolume is no part of its snapshot: make it an asset, or exclude it"
_PREFIX = ".drctl-snapshot-"


class Settings(BaseModel):
    """What the plan says under `btrfs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: PlanPath = Field(
        min_length=1, description="The subvolume, or the top of the file system."
    )
    exclude: Patterns = Field(
        default=(), description="Patterns of what is left out, as in .gitignore."
    )


class Source:
    """Takes a snapshot and reads it; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around
        self._path = os.path.realpath(os.path.join(around.base, settings.path))
        # One name for each plan's asset on this host: the next run knows what the last one left.
        whose = sha256(os.fsencode(around.scratch)).hexdigest()[:8]
        self._snapshot = os.path.join(self._path, f"{_PREFIX}{asset}-{whose}")

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        program = self._look()
        self._remove(program)
        try:
            consistent_at_ns = self._around.clock.now_ns()
            self._run(program, "snapshot", "-r", self._path, self._snapshot)
            tree = files.Settings(paths=(self._snapshot,), exclude=self._settings.exclude)
            with files.Source(tree, self._asset, self._around).open() as capture:
                yield _Capture(capture, consistent_at_ns, self._path)
        finally:
            self._remove(program)

    def _look(self) -> str:
        """The program. Raises SourceError where no snapshot can be taken."""
        if os.geteuid() != 0:
            raise SourceError(
                f"{self._asset}: only root may take and remove btrfs snapshots",
                hint="run drctl as root, or protect the directory with 'files'",
            )
        program = find_program("btrfs")
        if program is None:
            raise SourceError(
                f"{self._asset}: the program btrfs is missing",
                hint="on Debian: apt-get install btrfs-progs",
            )
        if not os.path.isdir(self._path):
            raise SourceError(
                f"{self._asset}: {self._path}: no such directory", hint="is its disk mounted?"
            )
        return program

    def _remove(self, program: str) -> None:
        if os.path.lexists(self._snapshot):
            self._run(program, "delete", self._snapshot)

    def _run(self, program: str, *words: str) -> None:
        try:
            with running((program, "subvolume", *words)) as child:
                status = child.wait()
        except OSError as error:
            raise SourceError(f"{self._asset}: {program} cannot be run: {reason(error)}") from error
        if status:
            raise SourceError(
                f"{self._asset}: {self._path}: {child.words or 'btrfs said nothing'}",
                hint="is 'path' a btrfs subvolume ('btrfs subvolume show'), mounted for writing?",
            )


class _Capture:
    """The snapshot as files, under the subvolume's own name; see engines.base.Capture."""

    def __init__(self, inner: Capture, consistent_at_ns: int, path: str) -> None:
        self._inner = inner
        self._path = path
        self.consistent_at_ns = consistent_at_ns
        self.facts: dict[str, str] = {}

    @property
    def private_facts(self) -> dict[str, str]:
        return {**self._inner.private_facts, "roots": json.dumps([self._path])}

    def items(self) -> Iterator[Item]:
        for item in self._inner.items():
            if not isinstance(item, TreeItem) or item.found.st_ino != _STUB_INODE:
                yield item
            elif not os.path.basename(item.path).startswith(os.fsencode(_PREFIX)):
                yield PlainItem(replace(item.entry(), problem=_NESTED))
            # Another plan's backup of this subvolume has its snapshot there: that one is ours.


def target(
    _: Settings | None, to: str, _facts: dict[str, str], _around: Surroundings
) -> TreeTarget:
    """Restores below the directory `to`, on any file system."""
    return TreeTarget(to)


def probe(_: Settings | None, at: str, around: Surroundings) -> files.Probe:
    """A tree is up when it is there."""
    return files.Probe(files.Settings(paths=(at,)), at, around)


ENGINE = Engine("btrfs", Settings, Source, target, probe)
