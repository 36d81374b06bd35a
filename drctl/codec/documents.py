"""The small objects: config, sessions, keys, refs, manifests.

config is JSON that anyone may read and only holders of the metadata key can have made; sessions and
keys are msgpack with a SHA-256 behind it, so that a scrub without keys sees damage; refs and
manifests are sealed metadata.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from drctl.codec import UNREADABLE
from drctl.codec.keys import (
    REPOSITORY_ID_BYTES,
    Secrets,
    recipient_document,
    recipient_from,
)
from drctl.codec.limits import FORMAT_VERSION
from drctl.codec.recipients import Identity, Recipient
from drctl.errors import IntegrityError, KeyUnavailable
from drctl.model import ID_SIZE

SESSION_MAGIC, KEYS_MAGIC = b"DRCTLN01", b"DRCTLK01"
INDEX_MAGIC, REFS_MAGIC, SNAPSHOT_MAGIC = b"DRCTLI01", b"DRCTLR01", b"DRCTLS01"

_T = TypeVar("_T")


class Config(Struct, frozen=True):
    """What a repository says of itself in the clear."""

    repository_id: bytes
    recipients: tuple[Recipient, ...]


def encode_config(config: Config, secrets: Secrets) -> bytes:
    """JSON, marked with a key of the repository so that a change is noticed."""
    document: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "repository": config.repository_id.hex(),
        "recipients": [recipient_document(r) for r in config.recipients],
    }
    document["mark"] = secrets.mark(_canonical(document)).hex()
    return json.dumps(document, indent=1).encode() + b"\n"


def decode_config(data: bytes, secrets: Secrets | None) -> Config:
    """With `secrets` the mark is checked too. Raises IntegrityError."""
    try:
        document = json.loads(data)
        mark, version = bytes.fromhex(document.pop("mark")), document["format"]
        if version != FORMAT_VERSION:
            raise IntegrityError(f"config: format {version} is not known to this drctl")
        config = Config(
            bytes.fromhex(document["repository"]),
            tuple(recipient_from(r) for r in document["recipients"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError("config: it does not read as a drctl repository's") from error
    if len(config.repository_id) != REPOSITORY_ID_BYTES:
        raise IntegrityError("config: it does not read as a drctl repository's")
    if secrets and config.repository_id != secrets.repository_id:
        raise KeyUnavailable(
            f"this is repository {config.repository_id.hex()[:8]}, the key is for "
            f"{secrets.repository_id.hex()[:8]}"
        )
    if secrets and mark != secrets.mark(_canonical(document)):
        raise IntegrityError("config: it was not written by a holder of this repository's key")
    return config


def is_of_newer(data: bytes) -> bool:
    """Whether a config says that it is of a format that is yet to come here."""
    try:
        return bool(json.loads(data)["format"] > FORMAT_VERSION)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Sealed(msgspec.Struct, frozen=True):
    """`to`: fingerprint -> HPKE ciphertext of the secret."""

    repository: bytes
    id: bytes
    to: dict[str, bytes]


def encode_sealed(
    magic: bytes, repository_id: bytes, own_id: bytes, secret: bytes, to: Iterable[Recipient]
) -> bytes:
    """A session's data key or the repository's secrets, sealed to each recipient."""
    info = magic + repository_id + own_id
    sealed = {r.fingerprint: r.seal(secret, info) for r in to}
    body = magic + msgspec.msgpack.encode(Sealed(repository_id, own_id, sealed))
    return body + sha256(body).digest()


def check_sealed(magic: bytes, data: bytes) -> Sealed:
    """What can be checked without a key. Raises IntegrityError."""
    body, proof = data[:-32], data[-32:]
    if not body.startswith(magic) or sha256(body).digest() != proof:
        raise IntegrityError("is damaged")
    try:
        return msgspec.msgpack.decode(body[len(magic) :], type=Sealed)
    except UNREADABLE as error:
        raise IntegrityError("is damaged") from error


def open_sealed(magic: bytes, data: bytes, own_id: bytes, identity: Identity) -> bytes:
    """The secret. Raises IntegrityError; KeyUnavailable when it is not sealed to `identity`."""
    sealed = check_sealed(magic, data)
    if sealed.id != own_id:
        raise IntegrityError("stands under another's name")
    mine = sealed.to.get(identity.recipient().fingerprint)
    if mine is None:
        raise KeyUnavailable(f"not sealed to identity {identity.name}")
    return identity.open(mine, magic + sealed.repository + own_id)


def encode_secrets(secrets: Secrets) -> bytes:
    return secrets.blob_key + secrets.meta_key


def decode_secrets(repository_id: bytes, plain: bytes) -> Secrets:
    """Raises IntegrityError."""
    if len(plain) != 64:
        raise IntegrityError("the repository's secrets are damaged")
    return Secrets(repository_id, plain[:32], plain[32:])


class Refs(msgspec.Struct, frozen=True):
    """Which segments a snapshot needs: session id -> [first number, count, ...], ascending."""

    segments: dict[bytes, list[int]]


class Manifest(msgspec.Struct, frozen=True):
    """A snapshot, as msgpack with these names. `root`: ids of the blobs that, end to end, are its
    encoded root. `refs`: name of its refs object."""

    asset: str
    engine: str
    host: str
    consistent_at_ns: int
    started_at_ns: int
    finished_at_ns: int
    entries: int
    size_bytes: int
    added_bytes: int
    problems: int
    root: bytes
    refs: str
    tags: tuple[str, ...] = ()
    plan_digest: str = ""
    version: str = ""
    facts: dict[str, str] = {}


def encode_struct(value: Refs | Manifest) -> bytes:
    return msgspec.msgpack.encode(value)


def decode_refs(plain: bytes) -> Refs:
    """Raises IntegrityError."""
    refs = _struct(plain, Refs)
    if any(len(run) % 2 or min(run, default=0) < 0 for run in refs.segments.values()):
        raise IntegrityError("its runs of segments make no sense")
    return refs


def decode_manifest(plain: bytes) -> Manifest:
    """Raises IntegrityError."""
    manifest = _struct(plain, Manifest)
    if len(manifest.root) % ID_SIZE or not manifest.root:
        raise IntegrityError("it names no root")
    return manifest


def _struct(plain: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.msgpack.decode(plain, type=kind)
    except UNREADABLE as error:
        raise IntegrityError(f"it does not decode: {error}") from error
