"""What is read of a sparse file while somebody changes it lies where it lay."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drctl.engines.tree_content import CHANGED, CUT, FileStream
from drctl.engines.tree_look import to_entry

PIECE, FAR = 64 << 10, 1 << 20


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[int]:
    """Two runs of data: at the beginning, and at the end behind a hole."""
    descriptor = os.open(tmp_path / "sparse", os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"a" * PIECE, 0)
    os.pwrite(descriptor, b"b" * PIECE, FAR)
    yield descriptor
    os.close(descriptor)


def read(descriptor: int, change: Callable[[], object]) -> tuple[FileStream, bytes]:
    """With a change after the first piece."""
    found = os.fstat(descriptor)
    stream = FileStream(descriptor, to_entry(b"sparse", found), found)
    pieces = iter(stream)
    first = next(pieces)
    change()
    return stream, first + b"".join(pieces)


@pytest.mark.parametrize(("size", "kept"), [(FAR + 4096, (0, PIECE, FAR, 4096)), (FAR, (0, PIECE))])
def test_one_that_is_cut_keeps_its_holes(sparse, size, kept) -> None:
    stream, content = read(sparse, lambda: os.ftruncate(sparse, size))
    assert stream.entry.problem == CUT
    assert stream.entry.extents == kept
    assert stream.entry.size == sum(kept[-2:])
    assert content == b"a" * PIECE + b"b" * sum(kept[3:])


def test_one_that_grows_behind_a_hole_is_not_cut(sparse) -> None:
    os.ftruncate(sparse, 2 * FAR)
    found = os.fstat(sparse)
    os.pwrite(sparse, b"c" * PIECE, 3 * FAR)
    stream = FileStream(sparse, to_entry(b"sparse", found), found)
    assert b"".join(stream) == b"a" * PIECE + b"b" * PIECE
    assert stream.entry.problem == CHANGED
    assert stream.entry.extents == (0, PIECE, FAR, PIECE)
    assert stream.entry.size == 2 * FAR
