"""A table of blobs is read by some threads while another adds to it."""

import threading
from array import array
from random import Random

from drctl.model import ID_SIZE
from drctl.repository.blobtable import BlobTable

KNOWN, PART, PARTS = 500, 30_000, 8


def test_what_is_in_a_table_is_found_while_it_grows() -> None:
    """A lost index is made anew from its packs while others ask for what is there."""
    chance, table, missed = Random(1), BlobTable(), []
    known = [chance.randbytes(ID_SIZE) for _ in range(KNOWN)]
    for at, blob in enumerate(known):
        assert table.find_or_add(blob, 1, at, 2) == -1
    is_done = threading.Event()

    def ask() -> None:
        while not is_done.is_set():
            missed.extend(at for at, blob in enumerate(known) if table.row(blob) != at)

    asking = threading.Thread(target=ask)
    asking.start()
    numbers = array("I", range(PART))
    for _ in range(PARTS):
        table.extend(chance.randbytes(PART * ID_SIZE), numbers, numbers, numbers)
    table.expect(PART)
    is_done.set()
    asking.join()
    assert missed == []
    assert [table.at(table.row(blob)) for blob in known] == [(1, at, 2) for at in range(KNOWN)]
