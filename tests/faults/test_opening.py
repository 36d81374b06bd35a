"""A distant repository, asked at once for all that opening it takes, says of what it lacks what any
other says."""

import os
from collections.abc import Iterator
from concurrent.futures import Executor

import pytest
from small_site import IDENTITY, History, Waiting, memory_of

from drctl.codec.recipients import Identity, new_identity
from drctl.errors import DrctlError, StorageError
from drctl.repository import catalog, lifecycle, names
from drctl.storage.base import ObjectInfo, Storage
from drctl.storage.early import Early
from drctl.storage.faulty import Fault, Faulty
from drctl.storage.meter import Meter
from drctl.storage.retry import Retry

STRANGER = new_identity("stranger", os.urandom)


def opened(storage: Storage, identity: Identity, pool: Executor) -> tuple[object, ...]:
    """What opening for reading finds: the snapshots, how much the index holds, and what is told."""
    told: list[str] = []
    try:
        repository = lifecycle.open_as_reader(storage, identity, os.urandom)
        index = repository.load_index(told.append, pool)
        found = catalog.load(repository, pool)
    except DrctlError as error:
        return type(error), error.what, error.hint
    return found.snapshots, found.damaged, len(index), told


def early(storage: Storage, identity: Identity) -> Early:
    own = names.KEYS + identity.recipient().fingerprint
    return Early(storage, (names.CONFIG, own), names.LOADED)


@pytest.mark.parametrize("identity", [IDENTITY, STRANGER], ids=["ours", "of a stranger"])
def test_whatever_one_lacks_is_told_as_ever(tiny: History, pool, identity) -> None:
    """Each object is lost, and each is damaged."""
    for name in ("", *tiny.objects):
        for changed in ({}, {name: tiny.objects[name][:-1] + b"?"} if name else {}):
            objects = {n: data for n, data in tiny.objects.items() if n != name} | changed
            plain = opened(memory_of(objects), identity, pool)
            assert opened(early(memory_of(objects), identity), identity, pool) == plain


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.FAIL_ONCE])
def test_a_site_that_does_not_answer_is_told_as_ever(tiny: History, pool, fault) -> None:
    def failing() -> Storage:
        return Retry(Faulty(tiny.storage(), fault, 0), Waiting(), attempts=3)

    plain = opened(failing(), IDENTITY, pool)
    assert ("get config failed" in str(plain[1])) == (fault is Fault.FAIL)
    assert opened(early(failing(), IDENTITY), IDENTITY, pool) == plain


class Refusing(Meter):
    """Lists everything but one folder."""

    def __init__(self, inner: Storage, refused: str) -> None:
        super().__init__(inner)
        self._refused = refused

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix == self._refused:
            raise StorageError(f"{prefix}: access denied", hint="look at the bucket's policy")
        return super().list(prefix)


@pytest.mark.parametrize("folder", names.LOADED)
def test_a_folder_that_cannot_be_listed_is_told_as_ever(tiny: History, pool, folder) -> None:
    told = (StorageError, f"{folder}: access denied", "look at the bucket's policy")
    assert opened(early(Refusing(tiny.storage(), folder), IDENTITY), IDENTITY, pool) == told
    assert opened(Refusing(tiny.storage(), folder), IDENTITY, pool) == told


def test_it_asks_for_nothing_that_opening_does_not_take(tiny: History, pool) -> None:
    plain, counted = Meter(tiny.storage()), Meter(tiny.storage())
    opened(plain, IDENTITY, pool)
    opened(early(counted, IDENTITY), IDENTITY, pool)
    assert counted.calls == plain.calls
