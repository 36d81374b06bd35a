"""Evidence: in-toto statements in DSSE envelopes, signed with Ed25519, each naming the one before.

    https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
    https://github.com/secure-systems-lab/dsse/blob/master/envelope.md

Pure bytes: where evidence lies is not this module's business.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct, ValidationError, convert

from drctl.errors import IntegrityError, KeyUnavailable

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
DRILL = "urn:drctl:evidence:drill:v1"
Document = dict[str, Any]


_Seconds = Annotated[float, Meta(ge=0, le=1e10)]


class _Plan(Struct):
    name: Annotated[str, Meta(min_length=1)]
    sha256: str


class _Timing(Struct):
    machine_seconds: _Seconds
    human_seconds: _Seconds
    rta_seconds: _Seconds | None


class _Snapshot(Struct):
    asset: str
    size_bytes: int


class _Predicate(Struct):
    """What is relied upon wherever evidence is read: anybody may have put it there."""

    number: Annotated[int, Meta(ge=1)]
    previous: str
    plan: _Plan
    drill: str
    verdict: str
    finished_at: Annotated[datetime, Meta(tz=True)]
    timing: _Timing
    snapshots: list[_Snapshot]


class Proof(Struct, frozen=True):
    """One piece of evidence: the envelope's bytes, and what it says."""

    data: bytes
    predicate: Document
    keyids: tuple[str, ...]

    @property
    def name(self) -> str:
        return sha256(self.data).hexdigest()

    @property
    def number(self) -> int:
        return int(self.predicate["number"])

    @property
    def previous(self) -> str:
        return str(self.predicate["previous"])

    @property
    def plan(self) -> str:
        return str(self.predicate["plan"]["name"])


def make(found: Document, before: Proof | None, key: Ed25519PrivateKey | None) -> Proof:
    """Evidence of what a drill found, chained to the piece before. Without a key it is unsigned,
    and says so by having no signature."""
    predicate = {
        "number": before.number + 1 if before else 1,
        "previous": before.name if before else "",
        **found,
    }
    subjects = [{"name": "plan", "digest": {"sha256": found["plan"]["sha256"]}}]
    subjects += [
        {"name": f"snapshot/{s['asset']}", "digest": {"sha256": s["sha256"]}}
        for s in found["snapshots"]
    ]
    statement = {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": DRILL,
        "predicate": predicate,
    }
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signatures = [_signature(payload, key)] if key else []
    envelope = {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(payload).decode(),
        "signatures": signatures,
    }
    return read(json.dumps(envelope, indent=1).encode() + b"\n")


def _signature(payload: bytes, key: Ed25519PrivateKey) -> dict[str, str]:
    signed = base64.b64encode(key.sign(pae(payload))).decode()
    return {"keyid": key_id(key.public_key()), "sig": signed}


def pae(payload: bytes) -> bytes:
    """What DSSE signs: the type and the payload with their lengths."""
    kind = PAYLOAD.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(key: Ed25519PublicKey) -> str:
    """The first digits of the SHA-256 of the raw key."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return sha256(raw).hexdigest()[:16]


def read(data: bytes) -> Proof:
    """What an envelope says, whoever signed it. Raises IntegrityError."""
    try:
        envelope = json.loads(data)
        payload = base64.b64decode(envelope["payload"], validate=True)
        statement = json.loads(payload, parse_constant=_refuse)
        if (envelope["payloadType"], statement["_type"]) != (PAYLOAD, STATEMENT):
            raise IntegrityError("it is no in-toto statement in a DSSE envelope")
        if statement["predicateType"] != DRILL:
            raise IntegrityError(f"it states {str(statement['predicateType'])[:80]}, not a drill")
        convert(statement["predicate"], _Predicate)
        keyids = tuple(str(s["keyid"]) for s in envelope["signatures"] if s["sig"])
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError("it does not read as evidence") from error
    return Proof(data, statement["predicate"], keyids)


def _refuse(number: str) -> None:
    raise ValueError(number)  # NaN and its like, which no JSON has


def is_signed(proof: Proof, key: Ed25519PublicKey) -> bool:
    """Whether this key signed it."""
    envelope = json.loads(proof.data)
    payload = base64.b64decode(envelope["payload"])
    for signature in envelope["signatures"]:
        try:
            key.verify(base64.b64decode(signature["sig"], validate=True), pae(payload))
        except (InvalidSignature, binascii.Error, ValueError, TypeError):
            continue  # another key's, or nobody's
        return True
    return False


def chain_faults(proofs: Sequence[Proof]) -> list[str]:
    """What is wrong with a plan's evidence as a chain: a piece that was taken out, put in, or
    exchanged shows at its neighbours."""
    ordered = sorted(proofs, key=lambda p: p.number)
    faults: list[str] = []
    before: Proof | None = None
    for proof in ordered:
        number = before.number if before else 0
        if proof.number == number:
            faults.append(f"there are two pieces of evidence with number {number}")
        elif proof.number != number + 1:
            faults.append(f"evidence {_missing(number + 1, proof.number - 1)} is missing")
        elif proof.previous != (before.name if before else ""):
            faults.append(f"evidence {proof.number} does not follow from the one before")
        before = proof
    return faults


def _missing(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def newest(proofs: Iterable[Proof]) -> Proof | None:
    return max(proofs, key=lambda p: p.number, default=None)


# -- keys -----------------------------------------------------------------------------------------


def private_key(pem: str) -> Ed25519PrivateKey:
    """Raises KeyUnavailable."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnavailable("it is no private key in PEM without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnavailable("it is no Ed25519 key")
    return key


def public_key(pem: str) -> Ed25519PublicKey:
    """Raises KeyUnavailable."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnavailable("it is no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyUnavailable("it is no Ed25519 key")
    return key


def private_pem(key: Ed25519PrivateKey) -> str:
    """PKCS 8, without a passphrase."""
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return encoded.decode()


def public_pem(key: Ed25519PublicKey) -> str:
    """SubjectPublicKeyInfo, as every tool reads it."""
    encoded = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded.decode()
