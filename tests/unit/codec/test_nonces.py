"""A number is a nonce: no run gives one twice, and no two runs share a key."""

import random
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import Identity, new_identity
from drctl.codec.table import Segment
from drctl.repository import lifecycle, names
from drctl.repository.index import Index
from drctl.repository.repository import Repository
from drctl.repository.writer import Writer
from drctl.storage.memory import Memory

SIZES = st.lists(
    st.tuples(st.sampled_from([1, 5000, 400_000, 1 << 20, 3 << 20]), st.booleans()), max_size=14
)


def new_repository(randomness) -> tuple[Repository, Memory, Identity]:
    storage, reader = Memory(), new_identity("reader", randomness)
    credential = WriterCredential(new_secrets(randomness), (reader.recipient(),))
    return lifecycle.create(storage, credential, randomness), storage, reader


def run(repository: Repository, blobs: list[tuple[bytes, bool]]) -> None:
    with ThreadPoolExecutor(4) as pool:
        writer = Writer(repository, Index(), pool, 1)
        for blob, tree in blobs:
            writer.add(blob, tree=tree)
        writer.settle()


def segments(repository: Repository, storage: Memory) -> list[Segment]:
    packs = list(storage.list(names.PACKS))
    return [segment for pack in packs for segment in repository.read_toc(pack).segments]


@settings(deadline=None, max_examples=15)
@given(runs=st.lists(SIZES, min_size=1, max_size=3), seed=st.integers(0, 9))
def test_no_run_seals_two_segments_under_one_number(runs, seed) -> None:
    randomness = random.Random(seed).randbytes
    repository, storage, _ = new_repository(randomness)
    due = 0
    for sizes in runs:
        blobs = [(randomness(size), tree) for size, tree in sizes]
        due += len({blob for blob, _ in blobs})  # blobs of one byte may be the same
        run(repository, blobs)
    found = segments(repository, storage)
    assert len({(segment.session, segment.number) for segment in found}) == len(found)
    assert due == sum(len(segment.blobs) for segment in found)


def test_every_run_has_a_key_of_its_own() -> None:
    randomness = random.Random(1).randbytes
    repository, storage, reader = new_repository(randomness)
    for content in range(5):
        run(repository, [(bytes([content]) * 100, False)])
    sessions = {segment.session for segment in segments(repository, storage)}
    assert len(sessions) == 5
    sealed = {repository.open_session(s, reader).seal(0, bytes(32), b"") for s in sessions}
    assert len(sealed) == 5
