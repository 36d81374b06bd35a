"""The objects below keys/: by each of them one recipient opens the repository with nothing but an
identity. Who has the secrets can make them again, so that they are lost only as long as nobody
looks."""

from collections.abc import Iterable

from drctl.codec import documents
from drctl.codec.keys import Secrets
from drctl.codec.recipients import Recipient
from drctl.repository import names
from drctl.repository.repository import Repository
from drctl.storage.base import Storage


def key_name(recipient: Recipient) -> str:
    return names.KEYS + recipient.fingerprint


def put_key(storage: Storage, secrets: Secrets, recipient: Recipient) -> None:
    """What stands there in its place opens nothing."""
    sealed = documents.encode_sealed(
        documents.KEYS_MAGIC,
        secrets.repository_id,
        bytes.fromhex(recipient.fingerprint),
        documents.encode_secrets(secrets),
        (recipient,),
    )
    storage.put(key_name(recipient), sealed, replace=True)


def lost(recipients: Iterable[Recipient], present: Iterable[str]) -> tuple[Recipient, ...]:
    """Those whose key is not among the objects that are there."""
    there = set(present)
    return tuple(r for r in recipients if key_name(r) not in there)


def told_lost(where: str, recipient: Recipient) -> str:
    """What a person is told of a lost one."""
    return (
        f"{where}: {key_name(recipient)} is missing: without it {recipient.name} cannot open what "
        "is backed up there"
    )


def may_make(repository: Repository, name: str) -> Recipient | None:
    """Whose key it is, if it is one that may be made: the repository and the keys at hand must
    agree that it is for a recipient."""
    agreed = set(repository.recipients) & set(repository.claimed)
    return next((r for r in agreed if key_name(r) == name), None)


def make_lost(repository: Repository) -> list[Recipient]:
    """Make again what is not there. Gives whose they are. Raises StorageError."""
    present = [info.name for info in repository.storage.list(names.KEYS)]
    found = lost(repository.claimed, present)
    made = [r for r in found if may_make(repository, key_name(r))]
    for recipient in made:
        put_key(repository.storage, repository.secrets, recipient)
    return made
