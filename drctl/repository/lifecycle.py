"""Making a repository, and opening one: with a writer credential or with an identity alone."""

from collections.abc import Callable

from drctl.clock import Randomness
from drctl.codec import documents
from drctl.codec.documents import Config
from drctl.codec.keys import Secrets, WriterCredential
from drctl.codec.recipients import Identity, Recipient
from drctl.errors import IntegrityError, KeyUnavailable, NotFound, StorageError
from drctl.repository import keyring, names, there
from drctl.repository.repository import Repository
from drctl.storage.base import Storage, is_there

_ELSE = "Else read a copy: --from"
_DAMAGED = (
    "'drctl verify REPOSITORY --repair' takes a sound one from a copy, or makes it again where the "
    "writer credential is"
)
_LOST = "where it was lost, 'drctl init' says what brings it back, or makes it anew"


def create(storage: Storage, credential: WriterCredential, randomness: Randomness) -> Repository:
    """A new repository. Its config is written last. Raises AlreadyExists when one is there, and
    StorageError when the config of another one was lost: its keys must stay as they are."""
    refuse_another(storage, credential.secrets.repository_id)
    secrets = credential.secrets
    for recipient in credential.recipients:
        keyring.put_key(storage, secrets, recipient)
    config = Config(secrets.repository_id, credential.recipients)
    storage.put(names.CONFIG, documents.encode_config(config, secrets))
    return Repository(storage, secrets, credential.recipients, randomness)


def put_config(storage: Storage, credential: WriterCredential) -> None:
    """In the place of one that is damaged. Raises StorageError for what is another repository's."""
    refuse_another(storage, credential.secrets.repository_id)
    config = Config(credential.secrets.repository_id, credential.recipients)
    storage.put(names.CONFIG, documents.encode_config(config, credential.secrets), replace=True)


def refuse_another(storage: Storage, repository_id: bytes) -> None:
    """Keys that are there tell whose repository it is, whatever its config says. Raises
    StorageError."""
    for info in storage.list(names.KEYS):
        try:
            found = documents.check_sealed(documents.KEYS_MAGIC, storage.get(info.name)).repository
        except IntegrityError:
            continue  # it opens nothing any more, and may be replaced
        if found != repository_id:
            raise StorageError(
                f"{storage.where} holds {info.name} of another repository, whose config is lost",
                hint="name an empty place; with that repository's own writer credential, init "
                "makes its config again",
            )


def exists(storage: Storage) -> bool:
    """Whether there is a repository. Raises StorageError."""
    return is_there(storage, names.CONFIG)


def is_in_use(storage: Storage) -> bool:
    """Whether there is a repository, or what is left of one whose config was lost. Raises
    StorageError."""
    return exists(storage) or any(True for _ in storage.list(names.KEYS))


def open_as_writer(
    storage: Storage,
    credential: WriterCredential,
    randomness: Randomness,
    outdated: Callable[[str], None] = lambda _: None,
) -> Repository:
    """With the writer credential. New data is sealed to the credential's recipients, whatever the
    repository claims: who can write to the storage must not be able to add a reader. When the
    two differ, `outdated` is told."""
    written = _config_bytes(storage, "'drctl init' makes it, or is the address wrong?", _LOST)
    config = _config(storage, written, credential.secrets)
    if set(config.recipients) != set(credential.recipients):
        claimed = ", ".join(r.name for r in config.recipients)
        outdated(
            f"{storage.where} is for {claimed}, this host's writer credential is not: give it the "
            "new one, or run 'drctl key recipient apply'"
        )
    opened = Repository(storage, credential.secrets, credential.recipients, randomness)
    opened.claimed = config.recipients
    return opened


def claimed_by(storage: Storage) -> tuple[Recipient, ...]:
    """Whom a repository claims to be for, without any key. Raises StorageError when there is none,
    IntegrityError."""
    return _config(storage, _config_to_read(storage), None).recipients


def credential_of(repository: Repository) -> WriterCredential:
    """A writer credential for a repository that an identity opened."""
    return WriterCredential(repository.secrets, repository.recipients)


def open_as_reader(storage: Storage, identity: Identity, randomness: Randomness) -> Repository:
    """With an identity and nothing else: the secrets come out of the repository."""
    written = _config_to_read(storage)
    config = _config(storage, written, None)
    own = bytes.fromhex(identity.recipient().fingerprint)
    name = names.KEYS + own.hex()
    try:
        data = storage.get(name)
    except NotFound as error:
        if own.hex() in [r.fingerprint for r in config.recipients]:
            raise IntegrityError(
                f"{storage.where}: {name} is lost, though identity {identity.name} is a recipient",
                hint="another repository of the plan may hold it: give --from. Where the writer "
                "credential is, 'drctl verify REPOSITORY --repair' makes it again",
            ) from error
        others = ", ".join(f"{r.name} ({r.fingerprint})" for r in config.recipients)
        raise KeyUnavailable(
            f"identity {identity.name} ({own.hex()}) is no recipient of {storage.where}",
            hint=f"its recipients are: {others}; give one of their identity files",
        ) from error
    try:
        plain = documents.open_sealed(documents.KEYS_MAGIC, data, own, identity)
    except IntegrityError as error:
        raise IntegrityError(f"{storage.where}: {name} {error.what}", hint=_DAMAGED) from error
    secrets = documents.decode_secrets(config.repository_id, plain)
    return Repository(storage, secrets, _config(storage, written, secrets).recipients, randomness)


def open_to_read(
    storage: Storage, identity: Identity, randomness: Randomness, told: Callable[[str], None]
) -> Repository:
    """The same for who does nothing but read, also where the config is lost or damaged: what opens
    everything lies in the identity's own key. `told` hears of that. Whom else such a repository is
    for nobody can tell: nothing may be sealed in it."""
    try:
        return open_as_reader(storage, identity, randomness)
    except (IntegrityError, StorageError) as error:
        secrets = _secrets_beside(storage, identity)
        if secrets is None:
            raise
        what = error.what.removeprefix(f"{storage.where}: ")
        told(f"{storage.where}: {what}: it is read by the identity's own key all the same")
        return Repository(storage, secrets, (), randomness)


def _secrets_beside(storage: Storage, identity: Identity) -> Secrets | None:
    """None where the identity's key is not there or does not read either, or the config is not what
    is wrong."""
    own = bytes.fromhex(identity.recipient().fingerprint)
    try:
        if exists(storage) and documents.is_of_newer(storage.get(names.CONFIG)):
            return None
        data = storage.get(names.KEYS + own.hex())
        plain = documents.open_sealed(documents.KEYS_MAGIC, data, own, identity)
        repository = documents.check_sealed(documents.KEYS_MAGIC, data).repository
        return documents.decode_secrets(repository, plain)
    except (IntegrityError, StorageError, KeyUnavailable):
        return None


def _config_to_read(storage: Storage) -> bytes:
    """For who reads, and may read elsewhere."""
    try:
        return _config_bytes(storage, "is the address right?", "")
    except StorageError as error:
        stop = "" if error.hint.endswith(("?", ".")) else "."
        error.hint = f"{error.hint}{stop} {_ELSE}" if error.hint else _ELSE
        raise


def _config_bytes(storage: Storage, if_new: str, if_lost: str) -> bytes:
    try:
        return storage.get(names.CONFIG)
    except NotFound as error:
        raise there.missing(storage, if_new, if_lost) from error


def _config(storage: Storage, data: bytes, secrets: Secrets | None) -> Config:
    """Checked as far as the secrets at hand allow."""
    try:
        return documents.decode_config(data, secrets)
    except IntegrityError as error:
        hint = error.hint or ("" if documents.is_of_newer(data) else _DAMAGED)
        raise IntegrityError(f"{storage.where}: {error.what}", hint=hint) from error
    except KeyUnavailable as error:
        raise KeyUnavailable(
            f"{storage.where}: {error.what}",
            hint="is the address right? 'drctl key credential FILE', with an identity of this "
            "repository, makes its writer credential",
        ) from error
