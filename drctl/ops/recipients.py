"""Who can read a repository: bring its keys, config and sessions in line with a list of recipients.

Packs are never touched: a session's data key is opened and sealed anew, which is all that giving or
taking the power to read needs. The order is: keys for new recipients, the config, the sessions, and
last the keys of those who are no recipients any more. So whoever stays a recipient reads everything
at every instant, a crash leaves nothing that doing it again does not complete, and a repository
that is in line costs reading its sessions.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

from msgspec import Struct, field

from drctl.codec import documents
from drctl.codec.documents import Config
from drctl.codec.recipients import Identity, Recipient
from drctl.errors import IntegrityError, KeyUnavailable, NotFound
from drctl.events import Phase, Progress, Reporter
from drctl.repository import names
from drctl.repository.keyring import key_name, put_key
from drctl.repository.repository import Repository
from drctl.storage.base import ObjectInfo, Storage

_GROUP = 16  # under way at a time
_MOST_PASSES = 5


class Aligned(Struct):
    """`resealed` of `sessions` were sealed anew. Those in `closed` no identity at hand opens, and
    those in `damaged` nobody opens: both stay as they are, and so do the keys of old recipients."""

    where: str
    sessions: int = 0
    resealed: int = 0
    closed: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    keys_made: list[str] = field(default_factory=list)
    keys_removed: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not (self.closed or self.damaged)


def align(
    repository: Repository,
    identities: Sequence[Identity],
    wanted: Sequence[Recipient],
    pool: Executor,
    report: Reporter,
) -> Aligned:
    """Make `wanted` the repository's recipients. Sessions that other hosts write meanwhile are
    sealed anew too: it ends after a look that finds all in line. Raises StorageError."""
    report.emit(Phase(f"sealing the sessions of {repository.where} to {_names(wanted)}"))
    result = Aligned(repository.where)
    result.keys_made = make_keys(repository, wanted)
    _write_config(repository, wanted)
    for _ in range(_MOST_PASSES):
        if not _pass(repository, identities, wanted, pool, report, result):
            break
    if result.is_whole:
        _remove_keys(repository, wanted, result)
    return result


def _names(recipients: Sequence[Recipient]) -> str:
    return ", ".join(r.name for r in recipients)


def make_keys(repository: Repository, wanted: Sequence[Recipient]) -> list[str]:
    """The first step, which changes nothing for anybody else. Gives whose keys were not there.
    Raises StorageError."""
    made = []
    for recipient in wanted:
        name = key_name(recipient)
        if not _holds_key(repository.storage, name, recipient):
            put_key(repository.storage, repository.secrets, recipient)
            made.append(recipient.name)
    return made


def _holds_key(storage: Storage, name: str, recipient: Recipient) -> bool:
    try:
        sealed = documents.check_sealed(documents.KEYS_MAGIC, storage.get(name))
    except (NotFound, IntegrityError):
        return False
    return recipient.fingerprint in sealed.to


def _write_config(repository: Repository, wanted: Sequence[Recipient]) -> None:
    config = Config(repository.secrets.repository_id, tuple(wanted))
    data = documents.encode_config(config, repository.secrets)
    if repository.storage.get(names.CONFIG) != data:
        repository.storage.put(names.CONFIG, data, replace=True)


def must_be_in_line(repository: Repository, wanted: Sequence[Recipient]) -> None:
    """After all was done: on another host somebody may do the same at this moment. Raises
    IntegrityError."""
    storage = repository.storage
    claimed = documents.decode_config(storage.get(names.CONFIG), repository.secrets).recipients
    lost = [r.name for r in wanted if not _holds_key(storage, key_name(r), r)]
    if set(claimed) != set(wanted) or lost:
        raise IntegrityError(
            f"{repository.where}: somebody else has changed the recipients meanwhile: it is for "
            f"{_names(claimed)}{'; lost is the key of ' * bool(lost)}{', '.join(lost)}",
            hint="agree on one host; there 'drctl key recipient apply', when the other has ended, "
            "makes them those of its credential",
        )


def _remove_keys(repository: Repository, wanted: Sequence[Recipient], result: Aligned) -> None:
    kept = {names.KEYS + r.fingerprint for r in wanted}
    for info in list(repository.storage.list(names.KEYS)):
        if info.name not in kept:
            repository.storage.delete(info.name)
            result.keys_removed.append(names.digest_of(info.name))


# -- sessions -------------------------------------------------------------------------------------


def _pass(
    repository: Repository,
    identities: Sequence[Identity],
    wanted: Sequence[Recipient],
    pool: Executor,
    report: Reporter,
    result: Aligned,
) -> bool:
    """One look at all sessions. True when it changed any: another look is due."""
    found = _sessions(repository.storage)
    result.sessions, result.closed, result.damaged = len(found), [], []
    changed = False

    def one(info: ObjectInfo) -> str:
        return _reseal(repository, identities, wanted, info.name)

    for number, (info, state) in enumerate(_mapped(found, one, pool), 1):
        if state == "resealed":
            result.resealed += 1
            changed = True
        elif state:
            (result.closed if state == "closed" else result.damaged).append(info.name)
        report.emit(Progress(0, 0, number, len(found)))
    return changed


def _sessions(storage: Storage) -> list[ObjectInfo]:
    """What else lies there is somebody's own."""
    return [info for info in storage.list(names.SESSIONS) if names.is_id(info.name)]


def _mapped(
    found: list[ObjectInfo], one: Callable[[ObjectInfo], str], pool: Executor
) -> Iterator[tuple[ObjectInfo, str]]:
    for start in range(0, len(found), _GROUP):
        group = found[start : start + _GROUP]
        yield from zip(group, pool.map(one, group), strict=True)


def _reseal(
    repository: Repository, identities: Sequence[Identity], wanted: Sequence[Recipient], name: str
) -> str:
    """What was done: "" nothing was needed, "resealed", "closed", "damaged"."""
    magic, own_id = documents.SESSION_MAGIC, bytes.fromhex(names.digest_of(name))
    try:
        data = repository.storage.get(name)
        sealed = documents.check_sealed(magic, data)
        if set(sealed.to) == {r.fingerprint for r in wanted}:
            return ""
        secret = _opened(magic, data, own_id, identities)
    except NotFound:
        return ""  # collected meanwhile
    except KeyUnavailable:
        return "closed"
    except IntegrityError:
        return "damaged"
    anew = documents.encode_sealed(magic, repository.secrets.repository_id, own_id, secret, wanted)
    repository.storage.put(name, anew, replace=True)
    return "resealed"


def _opened(magic: bytes, data: bytes, own_id: bytes, identities: Sequence[Identity]) -> bytes:
    """With the first identity that it is sealed to."""
    for identity in identities[:-1]:
        try:
            return documents.open_sealed(magic, data, own_id, identity)
        except KeyUnavailable:
            continue  # another one may open it
    return documents.open_sealed(magic, data, own_id, identities[-1])


def out_of_line(storage: Storage, wanted: Sequence[Recipient], pool: Executor) -> tuple[int, int]:
    """(sessions that are not sealed to exactly these recipients, all sessions). Needs no key."""
    fingerprints = {r.fingerprint for r in wanted}
    return _count_sessions(storage, lambda to: to != fingerprints, pool)


def sealed_away(storage: Storage, recipient: Recipient, pool: Executor) -> tuple[int, int]:
    """(sessions that are not sealed to this recipient, all sessions). Needs no key."""
    return _count_sessions(storage, lambda to: recipient.fingerprint not in to, pool)


def _count_sessions(
    storage: Storage, counts: Callable[[set[str]], bool], pool: Executor
) -> tuple[int, int]:
    """A damaged one counts, too."""

    def one(info: ObjectInfo) -> str:
        try:
            sealed = documents.check_sealed(documents.SESSION_MAGIC, storage.get(info.name))
        except NotFound:
            return ""  # collected meanwhile
        except IntegrityError:
            return "damaged"
        return "counts" if counts(set(sealed.to)) else ""

    found = _sessions(storage)
    return sum(1 for _, state in _mapped(found, one, pool) if state), len(found)
