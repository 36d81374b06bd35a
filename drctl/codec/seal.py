"""AES-256-GCM, in the two ways that the format uses it.

Metadata (indexes, manifests, refs, tables of contents) is sealed under a key derived, with a fresh
32-byte salt, for this one object; so the nonce can be zero and the metadata key serve for ever.
Segments are sealed under their writing run's data key with the segment's number as nonce; a run
never gives a number twice. Both bind the repository's id and what the object is, so that nothing
sealed can be moved elsewhere unnoticed.
"""

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from drctl.clock import Randomness
from drctl.codec.limits import TABLE_MAX_BYTES
from drctl.errors import IntegrityError

Buffer = bytes | bytearray | memoryview

SALT_BYTES = 32
TAG_BYTES = 16
DATA_KEY_BYTES = 32
_ZERO_NONCE = bytes(12)


def _object_cipher(meta_key: bytes, repository_id: bytes, magic: bytes, salt: bytes) -> AESGCM:
    info = b"drctl metadata" + magic + repository_id
    return AESGCM(HKDF(SHA256(), 32, salt, info).derive(meta_key))


def seal_meta(
    meta_key: bytes, repository_id: bytes, magic: bytes, plain: bytes, randomness: Randomness
) -> bytes:
    """Compress and seal. Gives magic (8 bytes), salt (32), ciphertext, tag (16)."""
    salt = randomness(SALT_BYTES)
    packed = zstandard.ZstdCompressor(level=3).compress(plain)
    cipher = _object_cipher(meta_key, repository_id, magic, salt)
    return magic + salt + cipher.encrypt(_ZERO_NONCE, packed, magic + repository_id)


def open_meta(meta_key: bytes, repository_id: bytes, magic: bytes, sealed: Buffer) -> bytes:
    """The reverse. Raises IntegrityError: another kind, another repository, a wrong byte."""
    view = memoryview(sealed)
    if bytes(view[: len(magic)]) != magic:
        raise IntegrityError(f"does not begin with {magic!r}")
    start = len(magic) + SALT_BYTES
    if len(view) < start + TAG_BYTES:
        raise IntegrityError(f"is cut short at {len(view)} bytes")
    cipher = _object_cipher(meta_key, repository_id, magic, bytes(view[len(magic) : start]))
    try:
        packed = cipher.decrypt(_ZERO_NONCE, view[start:], magic + repository_id)
    except InvalidTag as error:
        raise IntegrityError("was changed after it was written, or belongs elsewhere") from error
    return decompress(packed, TABLE_MAX_BYTES)


def decompress(packed: Buffer, most_bytes: int) -> bytes:
    """One zstd frame that states its size. Raises IntegrityError beyond `most_bytes`."""
    try:
        size = zstandard.frame_content_size(packed)
        if not 0 <= size <= most_bytes:
            raise IntegrityError(f"states a size of {size} bytes; at most {most_bytes} are allowed")
        plain = zstandard.ZstdDecompressor().decompress(packed, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"does not decompress: {error}") from error
    if len(plain) != size:
        raise IntegrityError(f"decompresses to {len(plain)} bytes instead of {size}")
    return plain


class DataSeal:
    """Seals and opens the segments of one writing run (a session). Thread safe.

    Making one raises IntegrityError for a data key of another length than 32 bytes: whoever can
    write to a repository's storage can seal anything to its recipients.
    """

    def __init__(self, repository_id: bytes, session_id: bytes, data_key: bytes) -> None:
        if len(data_key) != DATA_KEY_BYTES:
            raise IntegrityError(f"a data key of {len(data_key)} bytes")
        self._cipher = AESGCM(data_key)
        self._bound = b"drctl segment" + repository_id + session_id

    def seal(self, number: int, plain: Buffer, header: bytes) -> bytes:
        """`number` must never have been used with this data key before."""
        return self._cipher.encrypt(number.to_bytes(12), plain, self._bound + header)

    def open(self, number: int, sealed: Buffer, header: bytes) -> bytes:
        """Raises IntegrityError on any wrong byte, number or header."""
        try:
            return self._cipher.decrypt(number.to_bytes(12), sealed, self._bound + header)
        except InvalidTag as error:
            raise IntegrityError(f"segment {number} was changed after it was written") from error
