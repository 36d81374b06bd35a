"""Changing who can read, broken off at every call: whoever stays reads everything, at every
instant, and doing it again completes it. Data is never written anew."""

from collections.abc import Sequence
from concurrent.futures import Executor

import pytest
from small_site import IDENTITY, RANDOMNESS, SECOND, History, Recorded, objects_of

from drctl.codec import documents
from drctl.codec.recipients import Identity, Recipient, new_identity
from drctl.errors import KeyUnavailable, StorageError
from drctl.events import Silent
from drctl.ops.recipients import Aligned, align, out_of_line
from drctl.repository import catalog, lifecycle, names
from drctl.repository.reader import Reader
from drctl.storage.base import Storage
from drctl.storage.faulty import Fault, Faulty
from drctl.storage.memory import Memory

THIRD = new_identity("third", RANDOMNESS)


def carry_out(
    storage: Storage, by: Sequence[Identity], wanted: Sequence[Identity], pool: Executor
) -> Aligned:
    repository = lifecycle.open_as_reader(storage, by[0], RANDOMNESS)
    return align(repository, by, [i.recipient() for i in wanted], pool, Silent())


def reads(storage: Storage, identity: Identity, history: History) -> bool:
    """Whether this identity alone opens the data of every snapshot."""
    try:
        repository = lifecycle.open_as_reader(storage, identity, RANDOMNESS)
        reader = Reader(repository, repository.load_index(lambda _: None), identity)
        for name in history.trees:
            root = reader.root(catalog.manifest(repository, name).root)
            for entry in reader.entries(root):
                reader.blobs(reader.leaves(entry))
    except KeyUnavailable:
        return False
    return True


def data_of(storage: Storage) -> dict[str, bytes]:
    return {n: d for n, d in objects_of(storage).items() if n.startswith(names.HASHED)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([IDENTITY, SECOND], [IDENTITY, SECOND, THIRD]),
        ([IDENTITY, SECOND], [IDENTITY]),
        ([IDENTITY, SECOND], [IDENTITY, THIRD]),
    ],
    ids=["add", "remove", "replace"],
)
@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOSE_ANSWER])
def test_broken_off_at_any_call_it_locks_nobody_out_and_completes(
    tiny: History, pool: Executor, before, after, fault: Fault
) -> None:
    packs, at = data_of(tiny.storage()), 0
    while True:
        storage = tiny.storage()
        faulty = Faulty(storage, fault, at)
        broken = False
        try:
            carry_out(faulty, [IDENTITY], after, pool)
        except StorageError:
            broken = True
        assert reads(storage, IDENTITY, tiny), f"broken off at call {at}"
        carry_out(storage, [IDENTITY], after, pool)
        assert [i for i in (IDENTITY, SECOND, THIRD) if reads(storage, i, tiny)] == after
        assert data_of(storage) == packs
        tiny.must_be_whole(storage)
        if not broken and faulty.seen <= at:
            break
        at += 1
    assert at > 8


def test_sessions_that_come_while_it_runs_are_sealed_anew_too(
    tiny: History, pool: Executor
) -> None:
    class HostWritesMeanwhile(Recorded):
        """At the third session that is read, another host ends a run with its old credential."""

        done = False

        def noted(self, method: str, name: str) -> None:
            reading = [n for m, n in self.calls if m == "get" and n.startswith(names.SESSIONS)]
            if len(reading) == 2 and not self.done:
                self.done = True
                other_host_starts_a_session(tiny, self._inner)

    storage = HostWritesMeanwhile(tiny.storage())
    done = carry_out(storage, [IDENTITY], [IDENTITY, THIRD], pool)
    assert storage.done
    assert (done.sessions, done.resealed) == (3, 3)
    wanted = [IDENTITY.recipient(), THIRD.recipient()]
    assert out_of_line(storage, wanted, pool) == (0, 3)


def other_host_starts_a_session(history: History, storage: Storage) -> None:
    credential = history.site.credential
    lifecycle.open_as_writer(storage, credential, RANDOMNESS).start_session()


def test_what_comes_later_with_an_old_credential_is_seen_and_mended(
    tiny: History, pool: Executor
) -> None:
    storage = tiny.storage()
    carry_out(storage, [IDENTITY], [IDENTITY], pool)
    said: list[str] = []
    lifecycle.open_as_writer(storage, tiny.site.credential, RANDOMNESS, said.append)
    assert len(said) == 1
    other_host_starts_a_session(tiny, storage)
    assert out_of_line(storage, [IDENTITY.recipient()], pool) == (1, 3)
    assert carry_out(storage, [IDENTITY], [IDENTITY], pool).resealed == 1
    assert out_of_line(storage, [IDENTITY.recipient()], pool) == (0, 3)


def test_what_no_identity_at_hand_opens_stays_readable_for_those_it_is_sealed_to(
    tiny: History, pool: Executor
) -> None:
    """An identity that cannot open a session must not take it from the one that can."""
    storage = tiny.storage()
    give_keys(storage, THIRD.recipient(), tiny)
    done = carry_out(storage, [THIRD], [THIRD], pool)
    assert (done.resealed, len(done.closed), done.is_whole) == (0, 2, False)
    assert reads(storage, IDENTITY, tiny)
    assert done.keys_removed == []


def give_keys(storage: Storage, recipient: Recipient, history: History) -> None:
    secrets = history.site.credential.secrets
    own = bytes.fromhex(recipient.fingerprint)
    storage.put(
        names.KEYS + recipient.fingerprint,
        documents.encode_sealed(
            documents.KEYS_MAGIC,
            secrets.repository_id,
            own,
            documents.encode_secrets(secrets),
            [recipient],
        ),
    )


def test_a_repository_in_line_is_only_read(tiny: History, pool: Executor) -> None:
    storage = Recorded(tiny.storage())
    done = carry_out(storage, [IDENTITY], [IDENTITY, SECOND], pool)
    assert done.resealed == 0
    assert {method for method, _ in storage.calls} == {"get", "list"}


def test_a_damaged_session_is_told_and_hinders_nothing_else(tiny: History, pool: Executor) -> None:
    storage = tiny.storage()
    first = next(i.name for i in storage.list(names.SESSIONS))
    storage.put(first, b"x" + storage.get(first)[1:], replace=True)
    storage.put(f"{names.SESSIONS}.rsync-tmp", b"somebody's own")
    done = carry_out(storage, [IDENTITY], [IDENTITY], pool)
    assert (done.damaged, done.resealed) == ([first], 1)
    assert isinstance(storage, Memory)
