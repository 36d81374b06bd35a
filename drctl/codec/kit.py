"""The recovery kit's bytes: a seed as word shares, and a document that needs no hiding.

The seed (32 bytes) stands for an identity of the kit's own, so that people keep 33 words and no
file. It is split k of n as SLIP-39 says; fewer than k shares tell nothing of it. The document holds
the plan, and sealed under the seed what the storage asks for.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.wordlist import WORDLIST

from drctl.clock import Randomness
from drctl.codec.recipients import Identity, identity_from_seed
from drctl.errors import KeyUnavailable

FORMAT = "drctl recovery kit 1"
SEED_BYTES = 32
SHARE_WORDS = 33
MOST_SHARES = 16
_NONCE_BYTES = 12
_BY_BEGINNING = {word[:4]: word for word in WORDLIST}  # the list is made so


@dataclass(frozen=True, slots=True)
class Kit:
    """`base`: where relative paths of the plan began. `fingerprint`: of the kit's identity.
    `sealed`: the storage's secrets, under the seed."""

    name: str
    made_at: str  # ISO, UTC
    need: int
    of: int
    fingerprint: str
    repository: str  # id, hex
    base: str
    plan: str = field(repr=False)
    sealed: str = field(default="", repr=False)  # base64; empty: there are none


def encode(kit: Kit) -> str:
    """The text of `kit.json`."""
    document = {key: getattr(kit, key) for key in Kit.__dataclass_fields__}
    return json.dumps({"format": FORMAT, **document}, indent=1) + "\n"


def decode(text: str) -> Kit:
    """Raises KeyUnavailable."""
    try:
        document = json.loads(text)
        if document.pop("format") != FORMAT:
            raise KeyUnavailable("it is no recovery kit of a form that this drctl knows")
        kit = Kit(**{key: document[key] for key in Kit.__dataclass_fields__})
        _check(kit)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KeyUnavailable("it is no recovery kit, or a damaged one") from error
    return kit


def _check(kit: Kit) -> None:
    kinds = {"need": int, "of": int}
    for key in Kit.__dataclass_fields__:
        if not isinstance(getattr(kit, key), kinds.get(key, str)):
            raise TypeError(key)


# -- shares ---------------------------------------------------------------------------------------


def split(seed: bytes, need: int, of: int) -> list[str]:
    """Word shares of a seed, any `need` of which give it back."""
    return generate_mnemonics(1, [(need, of)], seed, iteration_exponent=1)[0]


def share(text: str) -> str:
    """A share as a person typed it, or as it stands on its page: numbered (`7. word`) among other
    text, or nothing but words, which may be shortened to their first four letters. Raises
    KeyUnavailable that repeats no word."""
    numbered = dict(re.findall(r"(\d+)\.\s+([a-z]+)", re.sub(r"<[^>]*>", " ", text)))
    places = [str(place) for place in range(1, SHARE_WORDS + 1)]
    if set(places) <= set(numbered):
        text = " ".join(numbered[place] for place in places)
    typed = re.findall(r"[a-z]+", text.lower())
    words = [_BY_BEGINNING.get(word[:4], word) for word in typed]
    unknown = [n for n, word in enumerate(words, 1) if word not in _BY_BEGINNING.values()]
    if unknown:
        shown = ", ".join(map(str, unknown[:5]))
        raise KeyUnavailable(f"not a word of the list at place {shown} of {len(words)}")
    if len(words) != SHARE_WORDS:
        raise KeyUnavailable(f"a share has {SHARE_WORDS} words, not {len(words)}")
    try:
        return Share.from_mnemonic(" ".join(words)).mnemonic()
    except MnemonicError as error:
        raise KeyUnavailable("a word of this share is wrong, or two changed places") from error


def needed(shares: Sequence[str]) -> int:
    """How many shares of this kit open it."""
    return Share.from_mnemonic(shares[0]).member_threshold


def number(mnemonic: str) -> int:
    """Which of the shares this is, from 1."""
    return Share.from_mnemonic(mnemonic).index + 1


def combine(shares: Sequence[str]) -> bytes:
    """The seed. Raises KeyUnavailable: too few, or of different kits."""
    unique = sorted(set(shares))
    if not unique:
        raise KeyUnavailable(
            "no share of the kit was given",
            hint="name their pages with --kit, or run it at a terminal and type the words",
        )
    if len({Share.from_mnemonic(mnemonic).identifier for mnemonic in unique}) > 1:
        raise KeyUnavailable("these shares are of different kits")
    need = needed(unique)
    if len(unique) < need:
        have = ", ".join(str(number(mnemonic)) for mnemonic in unique)
        raise KeyUnavailable(
            f"this kit opens with {need} shares; there is only share {have}",
            hint="name another's page with --kit, or run it at a terminal and type its words",
        )
    seed = _combine(unique[:need])
    for extra in unique[need:]:  # one more than needed is proven, too
        if _combine([*unique[: need - 1], extra]) != seed:
            raise KeyUnavailable("these shares do not belong together")
    return seed


def _combine(shares: Sequence[str]) -> bytes:
    try:
        return combine_mnemonics(shares)
    except MnemonicError as error:
        raise KeyUnavailable("these shares do not belong together") from error


# -- what the seed opens --------------------------------------------------------------------------


def identity(name: str, seed: bytes) -> Identity:
    return identity_from_seed(name, seed)


def seal_secrets(seed: bytes, secrets: dict[str, str], randomness: Randomness) -> str:
    """What the storage asks for, by reference. Empty when there is nothing."""
    if not secrets:
        return ""
    nonce = randomness(_NONCE_BYTES)
    plain = json.dumps(secrets).encode()
    return b64encode(nonce + _cipher(seed).encrypt(nonce, plain, FORMAT.encode())).decode()


def open_secrets(seed: bytes, sealed: str) -> dict[str, str]:
    """Raises KeyUnavailable."""
    if not sealed:
        return {}
    try:
        data = b64decode(sealed, validate=True)
        nonce, rest = data[:_NONCE_BYTES], data[_NONCE_BYTES:]
        found: Any = json.loads(_cipher(seed).decrypt(nonce, rest, FORMAT.encode()))
    except (ValueError, InvalidTag) as error:
        raise KeyUnavailable("the secrets in the kit do not open: it was changed") from error
    return {str(key): str(value) for key, value in found.items()}


def _cipher(seed: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, None, b"drctl recovery kit secrets").derive(seed))
