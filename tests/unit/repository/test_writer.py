"""A writing run keeps little in memory, however small and many the blobs are."""

import os
from concurrent.futures import ThreadPoolExecutor

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.repository import lifecycle, names
from drctl.repository.index import Index
from drctl.repository.writer import Writer
from drctl.storage.memory import Memory

BLOBS = 150_000


def test_very_many_small_blobs_are_packed_and_indexed_as_they_come() -> None:
    secrets = new_secrets(os.urandom)
    credential = WriterCredential(secrets, (new_identity("me", os.urandom).recipient(),))
    repository = lifecycle.create(Memory(), credential, os.urandom)
    with ThreadPoolExecutor(2) as pool:
        writer = Writer(repository, Index(), pool, 1)
        for number in range(BLOBS):
            writer.add(b"%040d" % number)
        writer.finish()
    tables = [repository.read_toc(info) for info in repository.storage.list(names.PACKS)]
    sizes = sorted(sum(len(s.blobs) for s in table.segments) for table in tables)
    assert sum(sizes) == BLOBS
    assert sizes[-1] < 70_000
    assert len(list(repository.storage.list(names.INDEX))) > 1
    index = repository.load_index(print)
    known = secrets.blob_ids(b"%040d" % number for number in range(0, BLOBS, 999))
    assert all(blob_id in index for blob_id in known)
