"""Whose signature under evidence counts: the plan's key, and those that the plan had before."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from drctl.report.evidence import Proof, chain_faults, is_signed, key_id, public_key

_END = "-----END PUBLIC KEY-----"


class Keys(Struct, frozen=True):
    """`current`: None where the plan names none. `former`: what signed before it."""

    current: Ed25519PublicKey | None
    former: tuple[Ed25519PublicKey, ...] = ()


def read_keys(pem: str) -> Keys:
    """A file of public keys: the plan's, and behind it those that it had before. Raises
    KeyUnavailable."""
    parts = [part + _END for part in pem.split(_END)[:-1]] or [pem]
    current, *former = map(public_key, parts)
    return Keys(current, tuple(former))


class Trust:
    """What the evidence of a plan is worth by its keys. A former key counts up to the first piece
    by the plan's own: whoever has stolen it cannot go on with it."""

    def __init__(self, keys: Keys, proofs: Sequence[Proof]) -> None:
        self._keys = keys
        key = keys.current
        own = {p.name: p.number for p in proofs if key is not None and is_signed(p, key)}
        self._own = own
        self._first = min(own.values(), default=None)

    def judge(self, proof: Proof) -> tuple[str, str]:
        """Whether a signature is `good`, `bad` or `unknown`, and a sentence."""
        key = self._keys.current
        if not proof.keyids:
            return "bad", "Not signed: nobody can tell who made this."
        if key is None:
            return (
                "unknown",
                f"Signed by {', '.join(proof.keyids)}; not verified, for want of a key.",
            )
        if proof.name in self._own:
            return "good", f"Signed, and verified with the plan's key {key_id(key)}."
        former = self._former(proof)
        if former is None:
            return "bad", f"NOT signed by the plan's key {key_id(key)}."
        if self._first is not None and proof.number > self._first:
            return "bad", f"Signed with {former}, which was no longer the plan's key then."
        return "good", f"Signed, and verified with the plan's former key {former}."

    def _former(self, proof: Proof) -> str | None:
        return next((key_id(k) for k in self._keys.former if is_signed(proof, k)), None)

    def good(self, proofs: Sequence[Proof]) -> list[Proof]:
        """What a key of the plan signed; without one, all: nobody can tell."""
        if self._keys.current is None:
            return list(proofs)
        return [p for p in proofs if self.judge(p)[0] == "good"]

    def faults(self, proofs: Sequence[Proof]) -> list[str]:
        """A sentence for each piece that no key of the plan signed, where it has one."""
        good = {p.name for p in self.good(proofs)}
        return [
            f"evidence {p.number} is not signed by the plan's key{self._cure(p)}"
            for p in proofs
            if p.name not in good
        ]

    def _cure(self, proof: Proof) -> str:
        if not proof.keyids:
            return ""
        if former := self._former(proof):
            return (
                f", but by {former[:16]}, which was no longer its key then: drill with the new one"
            )
        by = proof.keyids[0][:16]
        return f", but by {by}: a key that the plan had before is named in evidence.former"


def to_follow(keys: Keys, proofs: Sequence[Proof]) -> list[Proof]:
    """Of evidence that anybody may have put there: what new evidence is numbered behind. A number
    that a forger chose would leave a gap for ever when his piece is taken away. Where no key of the
    plan signed any, as behind a key that nobody named as a former one, it is what somebody signed,
    as far as that is one whole chain."""
    found = Trust(keys, proofs).good(proofs)
    signed = [p for p in proofs if p.keyids]
    return found or ([] if chain_faults(signed) else signed)
