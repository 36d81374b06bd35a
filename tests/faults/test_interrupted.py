"""Ctrl-C between any two steps of a backup: the next run leans on nothing that is half made."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from small_site import Site, random_tree, read_tree, write_tree

from drctl.ops import backup, intake
from drctl.repository import state, stored, writer

STEPPED = {module.__file__ for module in (backup, intake, state, stored, writer)}
TRIED = 250  # of the steps, spread over all of them


class Stepping:
    """Raises KeyboardInterrupt before step `at`: a bytecode of the modules that write. That is as
    fine as a signal can part them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0

    def __enter__(self) -> "Stepping":
        sys.settrace(self._calls)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _calls(self, frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in STEPPED:
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, _frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
        if event == "opcode":
            self.steps += 1
            if self.steps == self.at:
                raise KeyboardInterrupt
        return self._step


@pytest.fixture
def site(tmp_path: Path, pool) -> Site:
    site = Site(tmp_path, pool)
    write_tree(site.live, random_tree(11, 12, 30_000, large_bytes=1_500_000))
    return site


def test_an_interrupted_run_is_never_leant_on_where_it_is_not_whole(site) -> None:
    tree = read_tree(site.live)
    with Stepping(sys.maxsize) as whole:
        site.backup(site.new_repository(), "whole")
    assert whole.steps > 3 * TRIED
    for at in sorted(random.Random(3).sample(range(1, whole.steps), TRIED)):
        comes_back_after_an_interrupt(site, at, tree)


def comes_back_after_an_interrupt(site: Site, at: int, tree: dict[str, bytes]) -> None:
    storage = site.new_repository()
    stepping, is_interrupted = Stepping(at), False
    try:
        with stepping:
            site.backup(storage, f"state-{at}")
    except KeyboardInterrupt:
        is_interrupted = True
    assert is_interrupted == (stepping.steps >= at)  # another run has a few steps less, or more
    site.backup(storage, f"state-{at}")
    for snapshot in site.snapshots(storage):
        assert site.restored(storage, snapshot.name) == tree
    assert site.verified(storage) == [], f"interrupted at step {at}"
