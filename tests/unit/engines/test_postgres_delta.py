"""Restoring over what is there: what is as it was is not written."""

import os

from drctl.engines.postgres_delta import _Overwriting
from drctl.engines.postgres_layout import BLOCK_BYTES


def test_of_a_long_piece_only_the_blocks_that_differ_are_written(tmp_path) -> None:
    blocks = [bytes([number]) * BLOCK_BYTES for number in range(8)]
    path = tmp_path / "1"
    path.write_bytes(b"".join(blocks[:3]) + bytes(BLOCK_BYTES) + b"".join(blocks[4:7]))
    descriptor = os.open(path, os.O_RDWR)
    writing = _Overwriting(None, None, descriptor)
    writing.write_at(0, [b"".join(blocks[:5]), b"".join(blocks[5:])])
    os.close(descriptor)
    assert path.read_bytes() == b"".join(blocks)
    assert (writing._written, writing._same) == (2 * BLOCK_BYTES, 6 * BLOCK_BYTES)
