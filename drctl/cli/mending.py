"""Mend what keeps a repository from being opened: a repair that had to open it first would stand
before what it is to mend."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress

from drctl.codec import documents
from drctl.codec.keys import Secrets, WriterCredential
from drctl.errors import DrctlError, IntegrityError, KeyUnavailable
from drctl.ops.repair import Hands, RepairResult, repair
from drctl.ops.transfer import damage_of, put_proven
from drctl.repository import keyring, lifecycle, names
from drctl.repository.repository import Repository
from drctl.storage.base import Storage, is_there
from drctl.wiring import Wiring


def opened_mended(
    wiring: Wiring, name: str, open_it: Callable[[], Repository], pool: Executor
) -> tuple[Repository, RepairResult]:
    """The repository, and what had to be mended first. Raises what `open_it` raises where nothing
    could be."""
    done = RepairResult()
    try:
        return open_it(), done
    except IntegrityError:
        storage = wiring.storage(name)
        copies = [wiring.storage(n) for n in wiring.loaded.plan.repositories if n != name]
        if not _mend_config(_credential(wiring), storage, copies, done):
            raise
        _mend_keys(wiring, name, copies, pool, done)
        if not (done.fetched or done.made):
            raise
    return open_it(), done


def _credential(wiring: Wiring) -> WriterCredential | None:
    try:
        return wiring.credential()
    except KeyUnavailable:
        return None


def _mend_config(
    credential: WriterCredential | None,
    storage: Storage,
    copies: Iterable[Storage],
    done: RepairResult,
) -> bool:
    """From a copy; else from the writer credential, as it was made at first. What a newer drctl
    wrote is left as it is. Whether it reads now."""
    secrets = credential.secrets if credential else None
    data = storage.get(names.CONFIG)
    if _reads(data, secrets) or documents.is_of_newer(data):
        return not documents.is_of_newer(data)
    for copy in copies:
        with suppress(DrctlError):  # another one may have it
            sound = copy.get(names.CONFIG)
            config = documents.decode_config(sound, secrets)
            lifecycle.refuse_another(storage, config.repository_id)
            if credential and set(config.recipients) != set(credential.recipients):
                continue  # it is behind
            put_proven(storage, names.CONFIG, sound)
            done.fetched[names.CONFIG] = copy.where
            return True
    if credential is None:
        return False
    lifecycle.put_config(storage, credential)
    done.made[names.CONFIG] = ", ".join(r.name for r in credential.recipients)
    return True


def _reads(data: bytes, secrets: Secrets | None) -> bool:
    try:
        documents.decode_config(data, secrets)
    except IntegrityError:
        return False
    return True


def _mend_keys(
    wiring: Wiring, name: str, copies: list[Storage], pool: Executor, done: RepairResult
) -> None:
    """From a copy, too; where the writer credential is they are made again."""
    storage, opened = wiring.storage(name), None
    with suppress(KeyUnavailable):
        opened = wiring.as_writer(name, fresh=True)
    wanted = map(keyring.key_name, lifecycle.claimed_by(storage))
    bad = [n for n in wanted if not is_there(storage, n) or damage_of(storage, n)]
    if bad:
        hands = Hands(storage, copies, opened, None, pool, wiring.report)
        mended = repair(hands, bad, wiring.clock, wiring.randomness)
        done.fetched |= mended.fetched
        done.made |= mended.made
