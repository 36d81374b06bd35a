"""Negative controls: every check of a drill is also carried out where it must fail.

Once the clock has stopped, the restored assets are no longer needed as they are. They are damaged
and looked at again; then empty ones of their kind are. A check that passes there too proves
nothing, and a drill that leans on it is invalid.
"""

import os
import random
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from heapq import nsmallest
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from drctl.engines.tree_read import things_in
from drctl.errors import DrctlError
from drctl.ops.recovery.graph import Graph
from drctl.ops.recovery.look import Look
from drctl.ops.recovery.looking import Eyes
from drctl.ops.recovery.performer import places, variables
from drctl.ops.recovery.returning import Returning, View, looking
from drctl.ops.recovery.runner import Control

Finding = Literal["failed", "passed", "not tried"]
_MOST_FILES = 200  # the largest; to damage more takes time and proves no more
_MOST_BYTES = 1 << 20  # of each


class Controlled(Struct, frozen=True):
    """How a check did where it must fail: `failed` is as it should be."""

    look: Look
    empty: Finding
    damaged: Finding

    @property
    def proves(self) -> bool:
        """Whether the check can tell right from wrong. Rows may be counted right though a page of
        another table is damaged, and an empty database is whole: so of those two one is enough,
        and which one depends on what the check is for."""
        if self.look.kind == "compare":
            return self.empty == self.damaged == "failed"
        if self.look.kind == "integrity":
            return "failed" in {self.empty, self.damaged}
        return self.empty == "failed"


class Bench(Struct, frozen=True):
    """Where the controls are carried out: `directory` is private and empty. `also`: for each look
    the variables that its programs had in the recovery, so that it fails for no lack of them."""

    eyes: Eyes
    control: Control
    directory: str
    seed: int
    also: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def controls(graph: Graph, assets: Mapping[str, Returning], bench: Bench) -> tuple[Controlled, ...]:
    """All looks of the graph's steps. The assets are down, and are damaged by this."""
    looks = [look for step in graph.steps for look in step.looks]
    had = ((look.name, variables(s, assets)) for s in graph.steps for look in s.looks)
    bench = replace(bench, also=dict(had))
    empty: dict[str, Finding] = {}
    damaged: dict[str, Finding] = {}
    for name, asset in assets.items():
        own = [look for look in looks if look.asset == name]
        damaged |= _on_damaged(own, asset, bench)
        empty |= _on_empty(own, asset, bench)
    nowhere = {name: os.path.join(bench.directory, name) for name in assets}
    for look in looks:
        if not look.asset:
            empty[look.name] = _finding(look, None, places(nowhere), bench)
    return tuple(
        Controlled(look, empty.get(look.name, "not tried"), damaged.get(look.name, "not tried"))
        for look in looks
    )


def _on_damaged(looks: list[Look], asset: Returning, bench: Bench) -> dict[str, Finding]:
    chance = random.Random(bench.seed)  # noqa: S311 - rubbish to write over data
    if not damage(asset.to, chance):
        return {}
    with looking(asset, asset.to) as view:
        return _findings(looks, view, bench)


def _on_empty(looks: list[Look], asset: Returning, bench: Bench) -> dict[str, Finding]:
    at = os.path.join(bench.directory, asset.name)
    try:
        if asset.make_hollow is not None:
            asset.make_hollow(at)
        else:
            os.makedirs(at, mode=0o700)
    except (DrctlError, OSError) as error:
        bench.eyes.tell(f"{asset.name}: no empty one could be made: {error}")
        return {}
    with looking(asset, at) as view:
        if asset.make_hollow is not None and view.standing is None:
            bench.eyes.tell(f"{asset.name}: the empty one {view.why_down}")
        blind = asset.make_hollow is None
        return _findings([k for k in looks if not (blind and k.kind == "sql")], view, bench)


def _findings(looks: list[Look], view: View, bench: Bench) -> dict[str, Finding]:
    also = places({view.asset.name: view.at})
    found: dict[str, Finding] = {}
    for look in looks:
        found[look.name] = _finding(look, view, also, bench)
    return found


def _finding(look: Look, view: View | None, also: Mapping[str, str], bench: Bench) -> Finding:
    """For what the controls had no time left for, or what was cut off, nothing is claimed. A
    comparison is never cut off."""
    if bench.control.over():
        return "not tried"
    also = {**bench.also.get(look.name, {}), **also}
    if bench.eyes.look(look, view, also, bench.control).ok:
        return "passed"
    is_cut_off = bench.control.over() and look.kind != "compare"
    return "not tried" if is_cut_off else "failed"


def damage(path: str, chance: random.Random) -> int:
    """Write rubbish over the second half of what lies there, up to a megabyte a file. Gives how
    many files were damaged. Links are not followed."""
    done = 0
    for address, size in _largest(os.fsencode(path)):
        with suppress(OSError):
            os.chmod(address, stat.S_IMODE(os.lstat(address).st_mode) | 0o600)
            descriptor = os.open(address, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                begin = size // 2
                os.pwrite(descriptor, chance.randbytes(min(size - begin, _MOST_BYTES)), begin)
            finally:
                os.close(descriptor)
            done += 1
    return done


def _largest(path: bytes) -> Iterator[tuple[bytes, int]]:
    """Regular files with content, by an address that the kernel takes, and their sizes."""
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if _is_content(found):
            yield path, found.st_size
    inner = (item for item in things_in(path) if _is_content(item.found))
    for item in nsmallest(_MOST_FILES, inner, key=lambda i: (-i.found.st_size, i.path)):
        yield item.place.address, item.found.st_size


def _is_content(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and bool(found.st_size)
