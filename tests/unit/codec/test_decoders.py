"""Every decoder, fed with anything: it gives a value or refuses in its own words, and never asks
for more memory than its format allows."""

import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drctl.codec import documents, entries, keys, pack, table
from drctl.codec.documents import SESSION_MAGIC, Config, Manifest, Refs
from drctl.codec.entries import BlockInfo, Root
from drctl.codec.keys import WriterCredential
from drctl.codec.table import PackTable, Segment
from drctl.errors import IntegrityError, KeyUnavailable
from drctl.model import Entry

SETTINGS = settings(deadline=None, max_examples=120)
Decoder = Callable[[bytes], Any]


def text(decode: Callable[[str], Any]) -> Decoder:
    return lambda data: decode(data.decode("latin-1"))


DECODERS: dict[str, Decoder] = {
    "block": entries.decode_block,
    "root": entries.decode_root,
    "refs": documents.decode_refs,
    "manifest": documents.decode_manifest,
    "columns": table.decode_columns,
    "table": table.decode,
    "toc": lambda data: pack.decode_toc(data, 108),
    "tail": lambda data: pack.toc_length(data, 1000),
    "sealed": lambda data: documents.check_sealed(SESSION_MAGIC, data),
    "sealed inside": lambda body: documents.check_sealed(
        SESSION_MAGIC, SESSION_MAGIC + body + sha256(SESSION_MAGIC + body).digest()
    ),
    "config": lambda data: documents.decode_config(data, None),
    "secrets": lambda data: documents.decode_secrets(b"r" * 16, data),
    "credential": text(keys.decode_credential),
    "public half": text(keys.identity_recipient),
}


class Samples(dict[str, bytes]):
    """One good input for each decoder. Its own words, so that a failure stays readable."""

    def __repr__(self) -> str:
        return "samples"


@pytest.fixture(scope="module")
def samples(secrets, identity, randomness) -> Samples:
    recipients = (identity.recipient(),)
    one = Segment(b"s" * 16, 0, 8, 100, 30, 1, ((b"i" * 32, 10), (b"j" * 32, 20)))
    toc = table.encode([PackTable(b"p" * 32, (one,))])
    entry = Entry(b"a/b", 1, size=9, blobs=b"b" * 32, xattrs=((b"x", b"y"),), extents=(0, 9))
    sealed = documents.encode_sealed(SESSION_MAGIC, b"r" * 16, b"o" * 16, b"k" * 32, recipients)
    manifest = Manifest("a", "files", "h", 1, 2, 3, 4, 5, 6, 0, b"b" * 32, "r", facts={"a": "b"})
    made = {
        "block": entries.encode_block([entry, Entry(b"c", 2, device=(1, 2))]),
        "root": entries.encode_root(Root((BlockInfo(b"a", b"b" * 32, 2),), {"roots": "[]"})),
        "refs": documents.encode_struct(Refs({b"s" * 16: [0, 4, 9, 1]})),
        "manifest": documents.encode_struct(manifest),
        "columns": toc,
        "table": toc,
        "toc": toc,
        "tail": pack.TAIL.pack(100, pack.MAGIC),
        "sealed": sealed,
        "sealed inside": sealed[len(SESSION_MAGIC) : -32],
        "config": documents.encode_config(Config(secrets.repository_id, recipients), secrets),
        "secrets": documents.encode_secrets(secrets),
        "credential": keys.encode_credential(WriterCredential(secrets, recipients)).encode(),
        "public half": keys.encode_identity(identity, "x", randomness).encode(),
    }
    return Samples(made)


def decoded_or_refused(name: str, data: bytes) -> None:
    try:
        DECODERS[name](data)
    except (IntegrityError, KeyUnavailable) as error:
        assert error.what  # noqa: PT017 - either way is right; only silence would not be


@pytest.mark.parametrize("name", DECODERS)
def test_what_was_written_decodes(samples, name) -> None:
    DECODERS[name](samples[name])


@pytest.mark.parametrize("name", DECODERS)
@SETTINGS
@given(data=st.binary(max_size=200))
def test_anything_decodes_or_is_refused(name, data) -> None:
    decoded_or_refused(name, data)


@pytest.mark.parametrize("name", DECODERS)
@SETTINGS
@given(data=st.data())
def test_what_was_damaged_decodes_or_is_refused(samples, name, data) -> None:
    whole = samples[name]
    at = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.sampled_from([0, 1, 2, 4, 40, len(whole)]))
    put = data.draw(st.binary(max_size=6) | st.sampled_from(MARKS))
    decoded_or_refused(name, whole[:at] + put + whole[at + cut :])


# The beginnings of msgpack's values that say a size, each saying the largest; and JSON's oddities.
HUGE = [b"\xdd" + b"\xff" * 4, b"\xdc" + b"\xff" * 2, b"\xdf" + b"\xff" * 4, b"\xc6" + b"\xff" * 4]
HUGE += [b"\xdb" + b"\xff" * 4, b"\xc9" + b"\xff" * 4 + b"\x01"]
MARKS = [*HUGE, b"\xcf" + b"\xff" * 8, b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf0" + bytes(6)]
MARKS += [b"\xc0", b"\xc1", b"null", b"[", b"{", b"1e999", b"NaN", b'"', b"\\ud800"]


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("deep", [b"\x91", b"\x81\xa1z", b"[", b'{"a":'])
def test_what_is_as_deep_as_a_well_is_refused(samples, name, deep) -> None:
    well = deep * 100_000
    for data in (well, b"\x81\xa1z" + well, b"\x9d" + b"\xc4\x00" * 12 + well):
        with pytest.raises((IntegrityError, KeyUnavailable)):
            DECODERS[name](data)


BOMBS = """
import resource, sys
from contextlib import suppress
from drctl.codec import documents, entries, table
from drctl.errors import IntegrityError
limit = 1 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
kinds = (entries.decode_block, entries.decode_root, documents.decode_refs,
         documents.decode_manifest, table.decode_columns)
for line in sys.stdin:
    for decode in kinds:
        with suppress(IntegrityError):
            decode(bytes.fromhex(line))
"""


def bombs(samples: dict[str, bytes]) -> list[bytes]:
    """Each good value with each of its places made to say the largest size."""
    names = ("block", "root", "refs", "manifest", "columns")
    return [
        samples[name][:at] + huge
        for name in names
        for at in range(min(len(samples[name]), 60))
        for huge in HUGE
    ]


def test_a_huge_size_is_never_allocated(samples) -> None:
    """With a gigabyte of address space, since a test must not trust the machine's own limit."""
    lines = "\n".join(bomb.hex() for bomb in bombs(samples))
    done = subprocess.run(
        [sys.executable, "-c", BOMBS],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_struct_with_a_field_more_still_reads(samples) -> None:
    """A later version of the same format may say more; what it says is passed over."""
    manifest = msgspec.msgpack.decode(samples["manifest"])
    more = msgspec.msgpack.encode({**manifest, "measured": {"rto_seconds": 1.5}})
    assert documents.decode_manifest(more) == documents.decode_manifest(samples["manifest"])
