"""Key files and recipients: the right key opens, any other says so, nothing shows a secret."""

import json
import random
import subprocess
import sys
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drctl.codec import keys
from drctl.codec.keys import (
    WriterCredential,
    decode_credential,
    decode_identity,
    encode_credential,
    encode_identity,
    identity_recipient,
)
from drctl.codec.recipients import PRIVATE_BYTES, PUBLIC_BYTES, Identity, Recipient, new_identity
from drctl.errors import IntegrityError, KeyUnavailable

PASSPHRASE = "correct horse"
QUICK = settings(deadline=None, max_examples=40)


@pytest.fixture(scope="module")
def credential(secrets, identity, stranger) -> WriterCredential:
    return WriterCredential(secrets, (identity.recipient(), stranger.recipient()))


@pytest.fixture(scope="module")
def identity_text(identity, randomness) -> str:
    return encode_identity(identity, PASSPHRASE, randomness)


def changed(text: str, **changes: object) -> str:
    return json.dumps({**json.loads(text), **changes})


def test_a_writer_credential_comes_back(credential) -> None:
    assert decode_credential(encode_credential(credential)) == credential


def test_an_identity_comes_back_with_its_passphrase(identity, identity_text) -> None:
    assert decode_identity(identity_text, PASSPHRASE) == identity
    assert identity_recipient(identity_text) == identity.recipient()


@pytest.mark.parametrize(
    "passphrase", ["", "Correct horse", "correct horse ", "pässwörd", "\udcff"]
)
def test_a_wrong_passphrase_is_called_wrong(identity_text, passphrase) -> None:
    with pytest.raises(KeyUnavailable, match="wrong passphrase for identity first"):
        decode_identity(identity_text, passphrase)


@pytest.mark.parametrize("passphrase", ["pässwörd", "\udcff of no encoding", "x" * 10_000])
def test_any_passphrase_serves(identity, randomness, passphrase) -> None:
    text = encode_identity(identity, passphrase, randomness)
    assert decode_identity(text, passphrase) == identity


def test_the_same_identity_is_never_sealed_the_same_way(identity, randomness) -> None:
    first, second = (json.loads(encode_identity(identity, "x", randomness)) for _ in range(2))
    assert first["argon2id"]["salt"] != second["argon2id"]["salt"]
    assert first["sealed"][:16] != second["sealed"][:16]


def test_an_identity_file_costs_what_rfc_9106_recommends(identity_text) -> None:
    cost = json.loads(identity_text)["argon2id"]
    assert (cost["iterations"], cost["lanes"], cost["memory_kib"]) == (3, 4, 65536)
    assert len(b64decode(cost["salt"])) == 16


def test_an_identity_file_with_another_name_does_not_open(identity_text) -> None:
    with pytest.raises(KeyUnavailable):
        decode_identity(changed(identity_text, name="second"), PASSPHRASE)


def test_an_identity_file_with_anothers_public_half_does_not_open(identity_text, stranger) -> None:
    """Whoever changes only the readable half would have new data sealed to himself."""
    public = keys.recipient_document(stranger.recipient())
    with pytest.raises(KeyUnavailable, match="was changed"):
        decode_identity(changed(identity_text, recipient=public), PASSPHRASE)


def test_an_identity_file_with_any_wrong_byte_does_not_open(identity_text) -> None:
    sealed = bytearray(b64decode(json.loads(identity_text)["sealed"]))
    for at in (0, 11, 12, len(sealed) // 2, len(sealed) - 1):
        wrong = bytearray(sealed)
        wrong[at] ^= 1
        text = changed(identity_text, sealed=b64encode(wrong).decode())
        with pytest.raises(KeyUnavailable):
            decode_identity(text, PASSPHRASE)


@pytest.mark.parametrize(
    "cost",
    [
        {"memory_kib": 2**31},
        {"memory_kib": 2**80},
        {"iterations": 10**9},
        {"lanes": 10**6},
        {"iterations": 0},
        {"lanes": -1},
        {"memory_kib": 1},
        {"memory_kib": float("inf")},
        {"memory_kib": float("nan")},
        {"memory_kib": "much"},
        {"memory_kib": None},
        {"memory_kib": [65536]},
        {"salt": ""},
        {"salt": "a"},
        {"salt": 7},
        {"salt": None},
    ],
)
def test_an_unreasonable_cost_is_refused_before_it_is_paid(identity_text, cost) -> None:
    argon2id = {**json.loads(identity_text)["argon2id"], **cost}
    with pytest.raises(KeyUnavailable):
        decode_identity(changed(identity_text, argon2id=argon2id), PASSPHRASE)


STARVED = """
import resource, sys
from drctl.codec.keys import decode_identity
from drctl.errors import KeyUnavailable
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    decode_identity(sys.stdin.read(), "x")
except KeyUnavailable as error:
    sys.exit(error.what)
"""


def test_a_cost_beyond_this_machines_memory_is_told(identity_text) -> None:
    argon2id = {**json.loads(identity_text)["argon2id"], "memory_kib": 4 << 20}
    done = subprocess.run(
        [sys.executable, "-c", STARVED],
        input=changed(identity_text, argon2id=argon2id),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "the identity file needs 4096 MiB of memory to be opened\n"


NO_DOCUMENTS = ["", "{", "null", "[]", "7", '"x"', "[" * 100_000, "{}", '{"format": 1}']


@pytest.mark.parametrize("text", NO_DOCUMENTS)
def test_what_is_no_key_file_is_told_so(text) -> None:
    with pytest.raises(KeyUnavailable, match="not a file of the form 'drctl writer credential 1'"):
        decode_credential(text)
    with pytest.raises(KeyUnavailable, match="not a file of the form 'drctl identity 1'"):
        decode_identity(text, PASSPHRASE)
    with pytest.raises(KeyUnavailable, match="not a file of the form 'drctl identity 1'"):
        identity_recipient(text)


def test_one_kind_of_key_file_is_not_taken_for_the_other(credential, identity_text) -> None:
    with pytest.raises(KeyUnavailable):
        decode_credential(identity_text)
    with pytest.raises(KeyUnavailable):
        decode_identity(encode_credential(credential), PASSPHRASE)


WRONG = st.sampled_from(
    [None, 7, 1.5, True, "", "x", "Ä", "00", "0" * 32, [], {}, [{}], [[]], ["x"], {"name": "x"}]
)


@QUICK
@given(key=st.sampled_from(["repository", "blob_key", "meta_key", "recipients"]), value=WRONG)
def test_a_damaged_credential_is_told_without_what_it_holds(credential, key, value) -> None:
    text = encode_credential(credential)
    if key == "repository" and value == "0" * 32:
        assert decode_credential(changed(text, **{key: value})) != credential
        return
    with pytest.raises(KeyUnavailable, match="the writer credential is damaged"):
        decode_credential(changed(text, **{key: value}))


@settings(deadline=None, max_examples=15)
@given(key=st.sampled_from(["name", "recipient", "argon2id", "sealed"]), value=WRONG)
def test_a_damaged_identity_file_is_told(identity_text, key, value) -> None:
    with pytest.raises(KeyUnavailable):
        decode_identity(changed(identity_text, **{key: value}), PASSPHRASE)


@QUICK
@given(value=WRONG)
def test_a_damaged_public_half_is_told(identity_text, value) -> None:
    with pytest.raises(KeyUnavailable, match="the identity file is damaged"):
        identity_recipient(changed(identity_text, recipient=value))


def test_nothing_that_holds_a_secret_shows_it(credential, secrets, identity) -> None:
    for value in (credential, secrets, identity):
        shown = f"{value!r} {value}"
        for secret in (secrets.blob_key, secrets.meta_key, identity.private):
            assert secret.hex() not in shown
            assert repr(secret)[2:20] not in shown


@QUICK
@given(secret=st.binary(max_size=200), info=st.binary(max_size=60))
def test_what_is_sealed_to_an_identity_it_opens(identity, secret, info) -> None:
    assert identity.open(identity.recipient().seal(secret, info), info) == secret


def test_nobody_else_opens_it_and_nobody_for_another_use(identity, stranger) -> None:
    sealed = identity.recipient().seal(b"secret", b"here")
    for who, info in ((stranger, b"here"), (identity, b"there"), (identity, b"")):
        with pytest.raises(KeyUnavailable):
            who.open(sealed, info)


@QUICK
@given(data=st.data())
def test_a_sealed_secret_with_any_wrong_bit_does_not_open(identity, data) -> None:
    sealed = identity.recipient().seal(b"secret", b"here")
    wrong = bytearray(sealed)
    bit = data.draw(st.integers(0, len(wrong) * 8 - 1))
    wrong[bit // 8] ^= 1 << bit % 8
    short = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for bad in (bytes(wrong), short, sealed + b"\0"):
        with pytest.raises(KeyUnavailable):
            identity.open(bad, b"here")


def test_the_same_secret_is_never_sealed_the_same_way(identity) -> None:
    assert len({identity.recipient().seal(b"secret", b"") for _ in range(20)}) == 20


@pytest.mark.parametrize(
    "public",
    [
        bytes(PUBLIC_BYTES),
        b"\xff" * PUBLIC_BYTES,
        b"",
        bytes(31),
        bytes(PUBLIC_BYTES + 1),
    ],
)
def test_sealing_to_what_is_no_public_key_is_refused(public) -> None:
    with pytest.raises(IntegrityError, match="recipient x: not a public key"):
        Recipient("x", public).seal(b"secret", b"")


def test_a_fingerprint_is_of_the_public_key_alone(identity) -> None:
    here = identity.recipient()
    assert Recipient("another name", here.public).fingerprint == here.fingerprint
    assert len(here.fingerprint) == 16


def test_an_identity_is_what_the_randomness_gave() -> None:
    made = [new_identity("x", random.Random(9).randbytes) for _ in range(2)]
    assert made[0] == made[1]
    assert len(made[0].private) == PRIVATE_BYTES
    assert made[0].recipient() == Identity("x", made[0].private).recipient()


def test_what_a_repository_derives_depends_on_its_keys_alone(secrets, randomness) -> None:
    other = keys.new_secrets(randomness)
    assert secrets.blob_ids([b"x", b"y"]) == secrets.blob_ids(map(memoryview, (b"x", b"y")))
    assert secrets.blob_ids([b"x"]) != other.blob_ids([b"x"])
    assert secrets.mark(b"x") != other.mark(b"x")
    assert secrets.chunker_seed != other.chunker_seed
    assert 0 <= secrets.chunker_seed < 2**63
