"""Recipients and identities: who can read a repository's data.

A recipient is a public key, an identity the private key to it. Secrets are sealed to recipients
with HPKE (RFC 9180) using ML-KEM-768 + X25519, so that what is stored today stays closed to a
quantum computer of tomorrow as long as either of the two holds.
"""

from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from drctl.clock import Randomness
from drctl.errors import IntegrityError, KeyUnavailable

MLKEM_PUBLIC_BYTES, X25519_BYTES, MLKEM_SEED_BYTES = 1184, 32, 64
PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + X25519_BYTES
PRIVATE_BYTES = MLKEM_SEED_BYTES + X25519_BYTES
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class Recipient(Struct, frozen=True):
    """`public`: ML-KEM-768 encapsulation key (1184 bytes), then X25519 public key (32)."""

    name: str
    public: bytes

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of the public key's SHA-256."""
        return sha256(self.public).hexdigest()[:16]

    def seal(self, secret: bytes, info: bytes) -> bytes:
        """Only this recipient's identity opens it, and only with the same `info`. Raises
        IntegrityError when the public key is none: some show only when they are used."""
        try:
            return _SUITE.encrypt(secret, self._key(), info)
        except ValueError as error:
            raise IntegrityError(f"recipient {self.name}: not a public key") from error

    def _key(self) -> MLKEM768X25519PublicKey:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(self.public[:MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(self.public[MLKEM_PUBLIC_BYTES:]),
        )


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """`private`: ML-KEM-768 seed (64 bytes), then X25519 private key (32)."""

    name: str
    private: bytes

    def recipient(self) -> Recipient:
        mlkem, x25519 = self._parts()
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return Recipient(self.name, public)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Raises KeyUnavailable when it was sealed to somebody else, for something else, or
        was changed: HPKE does not tell these apart."""
        try:
            return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(*self._parts()), info)
        except (InvalidTag, ValueError) as error:
            raise KeyUnavailable(f"identity {self.name} does not open it") from error

    def _parts(self) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
        return (
            MLKEM768PrivateKey.from_seed_bytes(self.private[:MLKEM_SEED_BYTES]),
            X25519PrivateKey.from_private_bytes(self.private[MLKEM_SEED_BYTES:]),
        )


def identity_from_seed(name: str, seed: bytes) -> Identity:
    """The identity that 32 bytes, which people can keep as words, stand for."""
    private = HKDF(SHA256(), PRIVATE_BYTES, None, b"drctl identity from seed").derive(seed)
    return Identity(name, private)


def new_identity(name: str, randomness: Randomness) -> Identity:
    return Identity(name, randomness(PRIVATE_BYTES))
