"""The config of a repository beside that of its copy: it opens all else, and its name proves
nothing. It is small, so both are read each time. They may differ and both be sound: recipients are
changed at one repository after the other. Which is wrong only its mark tells, and so a key."""

from msgspec import Struct

from drctl.codec import documents
from drctl.codec.keys import Secrets
from drctl.codec.recipients import Recipient
from drctl.errors import IntegrityError, NotFound, Unreadable
from drctl.ops.transfer import check_object
from drctl.repository import names
from drctl.storage.base import Storage

_UNPROVEN = (
    "config is not that of {}: which of them is right only the writer credential tells, or an "
    "identity, with 'drctl verify'"
)


class Configs(Struct, frozen=True):
    """Whom the original is for; None: nobody knows. What is wrong with the copy's, which is to be
    replaced; and what is wrong that a copy does not mend, for which `stays` keeps the copy's."""

    claimed: tuple[Recipient, ...] | None = None
    mend: str = ""
    wrong: str = ""
    stays: bool = False


def compare(source: Storage, copy: Storage, secrets: Secrets | None, *, proving: bool) -> Configs:
    """With `proving` it is told, too, that without a key nobody knows. Raises StorageError."""
    ours, damage = _read(source, secrets)
    theirs, their_damage = _read(copy, secrets)
    if damage:
        return Configs(None, "", damage, stays=True)
    if ours is None:
        return Configs()
    claimed = documents.decode_config(ours, None).recipients
    if their_damage and theirs and documents.is_of_newer(theirs):
        return Configs(claimed, "", their_damage, stays=True)
    if their_damage or theirs is None or secrets or not proving or len(ours) != len(theirs):
        return Configs(claimed, their_damage)
    wrong = f"{copy.where}: {_UNPROVEN.format(source.where)}" if ours != theirs else ""
    return Configs(claimed, "", wrong)


def _read(storage: Storage, secrets: Secrets | None) -> tuple[bytes | None, str]:
    """Its bytes, where there are any, and what is wrong with them."""
    data = None
    try:
        data = storage.get(names.CONFIG)
        check_object(storage.where, names.CONFIG, data, secrets)
    except NotFound:
        return None, ""
    except (IntegrityError, Unreadable) as error:
        return data, error.what
    return data, ""
