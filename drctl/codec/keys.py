"""The repository's shared secrets, and the files that hold keys outside it.

Two files. The writer credential lies on the production host: it deduplicates, commits, lists and
prunes, but reads no data back. The identity file holds a private key, closed with a passphrase
(Argon2id, RFC 9106) and lies where a thief of the host does not find it.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from drctl.clock import Randomness
from drctl.codec.recipients import PRIVATE_BYTES, PUBLIC_BYTES, Identity, Recipient
from drctl.errors import KeyUnavailable, WrongPassphrase

CREDENTIAL_FORMAT = "drctl writer credential 1"
IDENTITY_FORMAT = "drctl identity 1"
RECIPIENT_FORMAT = "drctl recipient 1"
KEY_BYTES = 32
REPOSITORY_ID_BYTES = 16

# RFC 9106, section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
ARGON2 = {"iterations": 3, "lanes": 4, "memory_kib": 64 * 1024}
_ARGON2_MOST = {"iterations": 64, "lanes": 64, "memory_kib": 4 * 1024 * 1024}


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What everyone with a part in a repository shares. Opens no data."""

    repository_id: bytes  # 16 bytes; no secret
    blob_key: bytes  # 32 bytes: names blobs, seeds the chunker
    meta_key: bytes  # 32 bytes: seals indexes, manifests, refs

    @property
    def chunker_seed(self) -> int:
        """63 bits: pyfastcdc takes no more."""
        found = blake3(b"drctl chunker seed", key=self.blob_key).digest(length=8)
        return int.from_bytes(found) >> 1

    def blob_ids(self, blobs: Iterable[bytes | memoryview]) -> list[bytes]:
        """32 bytes each: BLAKE3 keyed with the repository's blob key."""
        key = self.blob_key
        return [blake3(blob, key=key).digest() for blob in blobs]

    def blob_id(self, blob: bytes | memoryview) -> bytes:
        """The same of one."""
        return self.blob_ids([blob])[0]

    def mark(self, message: bytes) -> bytes:
        """A MAC (32 bytes) that proves knowledge of the metadata key."""
        return blake3(b"drctl mark" + message, key=self.meta_key).digest()


@dataclass(frozen=True, slots=True, repr=False)
class WriterCredential:
    """What a production host holds."""

    secrets: Secrets
    recipients: tuple[Recipient, ...]


def new_secrets(randomness: Randomness) -> Secrets:
    return Secrets(randomness(REPOSITORY_ID_BYTES), randomness(KEY_BYTES), randomness(KEY_BYTES))


def encode_credential(credential: WriterCredential) -> str:
    """The text of a credential file."""
    secrets = credential.secrets
    document = {
        "format": CREDENTIAL_FORMAT,
        "repository": secrets.repository_id.hex(),
        "blob_key": _text(secrets.blob_key),
        "meta_key": _text(secrets.meta_key),
        "recipients": [recipient_document(r) for r in credential.recipients],
    }
    return json.dumps(document, indent=1) + "\n"


def decode_credential(text: str) -> WriterCredential:
    """Raises KeyUnavailable, never showing what the text holds."""
    document = _document(text, CREDENTIAL_FORMAT)
    try:
        secrets = Secrets(
            bytes.fromhex(document["repository"]),
            _bytes(document["blob_key"], KEY_BYTES),
            _bytes(document["meta_key"], KEY_BYTES),
        )
        recipients = tuple(recipient_from(r) for r in document["recipients"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise KeyUnavailable("the writer credential is damaged") from error
    if not recipients or len(secrets.repository_id) != REPOSITORY_ID_BYTES:
        raise KeyUnavailable("the writer credential is damaged")
    return WriterCredential(secrets, recipients)


def recipient_document(recipient: Recipient) -> dict[str, str]:
    return {
        "name": recipient.name,
        "fingerprint": recipient.fingerprint,
        "public": _text(recipient.public),
    }


def recipient_from(document: dict[str, str]) -> Recipient:
    """Raises ValueError or KeyError when it is none."""
    return Recipient(document["name"], _bytes(document["public"], PUBLIC_BYTES))


def encode_identity(identity: Identity, passphrase: str, randomness: Randomness) -> str:
    """The identity file's text: private key sealed with AES-256-GCM under Argon2id."""
    salt, nonce = randomness(16), randomness(12)
    bound = IDENTITY_FORMAT.encode() + identity.name.encode()
    cipher = AESGCM(_stretch(passphrase, salt, ARGON2))
    document = {
        "format": IDENTITY_FORMAT,
        "name": identity.name,
        "recipient": recipient_document(identity.recipient()),
        "argon2id": {**ARGON2, "salt": _text(salt)},
        "sealed": _text(nonce + cipher.encrypt(nonce, identity.private, bound)),
    }
    return json.dumps(document, indent=1) + "\n"


def decode_identity(text: str, passphrase: str) -> Identity:
    """Raises KeyUnavailable: a damaged or changed file, a wrong passphrase."""
    document = _document(text, IDENTITY_FORMAT)
    try:
        name, public = document["name"], recipient_from(document["recipient"]).public
        cost = {key: int(document["argon2id"][key]) for key in ARGON2}
        salt, sealed = b64decode(document["argon2id"]["salt"]), b64decode(document["sealed"])
        bound = IDENTITY_FORMAT.encode() + name.encode()
        if any(not 1 <= cost[key] <= most for key, most in _ARGON2_MOST.items()):
            raise KeyUnavailable("the identity file asks for an unreasonable Argon2id cost")
        key = _stretch(passphrase, salt, cost)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise KeyUnavailable("the identity file is damaged") from error
    except MemoryError as error:
        raise KeyUnavailable(
            f"the identity file needs {cost['memory_kib'] // 1024} MiB of memory to be opened"
        ) from error
    try:
        private = AESGCM(key).decrypt(sealed[:12], sealed[12:], bound)
    except (InvalidTag, ValueError) as error:
        raise WrongPassphrase(f"wrong passphrase for identity {name}") from error
    if len(private) != PRIVATE_BYTES:
        raise KeyUnavailable("the identity file is damaged")
    identity = Identity(name, private)
    if identity.recipient().public != public:
        raise KeyUnavailable("the identity file was changed: its two halves do not belong together")
    return identity


def encode_recipient(recipient: Recipient) -> str:
    """The text of a file that holds no secret: who is to become a recipient hands it over."""
    document = {"format": RECIPIENT_FORMAT, "recipient": recipient_document(recipient)}
    return json.dumps(document, indent=1) + "\n"


def identity_recipient(text: str) -> Recipient:
    """The public half of an identity file, which needs no passphrase, or a recipient file's."""
    is_public = f'"{RECIPIENT_FORMAT}"' in text
    document = _document(text, RECIPIENT_FORMAT if is_public else IDENTITY_FORMAT)
    try:
        return recipient_from(document["recipient"])
    except (KeyError, ValueError, TypeError) as error:
        raise KeyUnavailable("the identity file is damaged") from error


def _stretch(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    return Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=cost["iterations"],
        lanes=cost["lanes"],
        memory_cost=cost["memory_kib"],
    ).derive(passphrase.encode("utf-8", "surrogateescape"))


def _document(text: str, format_name: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KeyUnavailable(f"not a file of the form {format_name!r}") from error
    if not isinstance(document, dict) or document.get("format") != format_name:
        raise KeyUnavailable(f"not a file of the form {format_name!r}")
    return document


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _bytes(text: str, size: int) -> bytes:
    value = b64decode(text, validate=True)
    if len(value) != size:
        raise ValueError("wrong length")
    return value
