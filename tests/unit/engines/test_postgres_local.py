"""Segments of WAL that the server does away with while they are read."""

import os
import struct

from drctl.engines.postgres_local import _is_as_it_was

BEGIN = 9 << 20


def test_a_segment_that_is_removed_is_whole_and_one_that_is_used_again_is_not(tmp_path) -> None:
    kept, later = tmp_path / "000000010000000000000009", tmp_path / "0000000100000000000000AA"

    def is_whole() -> bool:
        return _is_as_it_was(os.fsencode(kept), file.fileno(), BEGIN)

    kept.write_bytes(struct.pack("=HHIQ", 0xD110, 2, 1, BEGIN) + bytes(100))
    with kept.open("rb") as file:
        assert is_whole()
        kept.unlink()
        assert is_whole()
    kept.write_bytes(struct.pack("=HHIQ", 0xD110, 2, 1, BEGIN) + bytes(100))
    with kept.open("rb") as file:
        kept.rename(later)
        assert not is_whole()
        with later.open("r+b") as over:
            over.write(struct.pack("=HHIQ", 0xD110, 2, 1, 0xAA << 20))
        later.unlink()
        assert not is_whole()
