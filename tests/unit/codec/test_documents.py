"""Small objects and entries: they come back whole, or are refused in their own words."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drctl.codec import documents, entries
from drctl.codec.documents import (
    KEYS_MAGIC,
    SESSION_MAGIC,
    Config,
    Manifest,
    Refs,
    check_sealed,
    decode_config,
    decode_manifest,
    decode_refs,
    encode_config,
    encode_sealed,
    encode_struct,
    open_sealed,
)
from drctl.codec.entries import BlockInfo, Root
from drctl.codec.keys import Secrets, new_secrets
from drctl.errors import IntegrityError, KeyUnavailable
from drctl.model import Entry, Kind, sort_key

QUICK = settings(deadline=None, max_examples=80)
COUNT = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture(scope="module")
def config(secrets, identity) -> Config:
    return Config(secrets.repository_id, (identity.recipient(),))


def test_a_config_comes_back_with_keys_and_without(config, secrets) -> None:
    text = encode_config(config, secrets)
    assert decode_config(text, secrets) == config
    assert decode_config(text, None) == config


@pytest.mark.parametrize("key", ["repository", "recipients", "format", "mark"])
def test_a_config_that_somebody_changed_is_refused(config, secrets, stranger, key) -> None:
    from drctl.codec.keys import recipient_document

    document = json.loads(encode_config(config, secrets))
    document[key] = {
        "repository": "00" * 16,
        "recipients": [recipient_document(stranger.recipient())],
        "format": 2,
        "mark": "00" * 32,
    }[key]
    with pytest.raises((IntegrityError, KeyUnavailable)):
        decode_config(json.dumps(document).encode(), secrets)


def test_a_config_with_one_word_more_is_refused(config, secrets) -> None:
    document = json.loads(encode_config(config, secrets))
    document["parameters"] = {"chunk": 1}
    with pytest.raises(IntegrityError, match="was not written by a holder"):
        decode_config(json.dumps(document).encode(), secrets)


def test_a_key_of_another_repository_is_called_so(config, secrets, randomness) -> None:
    with pytest.raises(KeyUnavailable, match="the key is for"):
        decode_config(encode_config(config, secrets), new_secrets(randomness))


def test_a_config_of_a_later_format_says_which(config, secrets) -> None:
    document = json.loads(encode_config(config, secrets))
    document["format"] = 7
    with pytest.raises(IntegrityError, match="format 7 is not known"):
        decode_config(json.dumps(document).encode(), None)


@pytest.mark.parametrize("repository", ["", "00", "00" * 15, "00" * 17, "zz" * 16, 7, None])
def test_a_repositorys_id_has_sixteen_bytes(config, secrets, repository) -> None:
    document = json.loads(encode_config(config, secrets))
    document["repository"] = repository
    with pytest.raises(IntegrityError):
        decode_config(json.dumps(document).encode(), None)


REPOSITORY, OWN = b"r" * 16, b"o" * 16


def test_a_sealed_key_opens_for_each_recipient_and_for_nobody_else(
    identity, stranger, randomness
) -> None:
    both = [identity.recipient(), stranger.recipient()]
    data = encode_sealed(SESSION_MAGIC, REPOSITORY, OWN, b"secret", both)
    assert open_sealed(SESSION_MAGIC, data, OWN, identity) == b"secret"
    assert open_sealed(SESSION_MAGIC, data, OWN, stranger) == b"secret"
    mine = encode_sealed(SESSION_MAGIC, REPOSITORY, OWN, b"secret", both[:1])
    with pytest.raises(KeyUnavailable, match="not sealed to identity stranger"):
        open_sealed(SESSION_MAGIC, mine, OWN, stranger)


def test_a_sealed_key_that_was_moved_is_refused(identity) -> None:
    data = encode_sealed(SESSION_MAGIC, REPOSITORY, OWN, b"secret", [identity.recipient()])
    with pytest.raises(IntegrityError, match="another's name"):
        open_sealed(SESSION_MAGIC, data, b"x" * 16, identity)
    with pytest.raises(IntegrityError):
        open_sealed(KEYS_MAGIC, data, OWN, identity)


@pytest.mark.parametrize("change", ["repository", "id", "magic"])
def test_a_sealed_key_in_a_forged_cover_does_not_open(identity, change) -> None:
    """The cover has a checksum that anyone can make: what counts is what the seal binds."""
    from hashlib import sha256

    from msgspec import msgpack

    true = check_sealed(
        SESSION_MAGIC,
        encode_sealed(SESSION_MAGIC, REPOSITORY, OWN, b"secret", [identity.recipient()]),
    )
    magic = KEYS_MAGIC if change == "magic" else SESSION_MAGIC
    repository = b"x" * 16 if change == "repository" else REPOSITORY
    own = b"x" * 16 if change == "id" else OWN
    body = magic + msgpack.encode(documents.Sealed(repository, own, true.to))
    with pytest.raises(KeyUnavailable):
        open_sealed(magic, body + sha256(body).digest(), own, identity)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_repositorys_secrets_have_their_length(length) -> None:
    with pytest.raises(IntegrityError):
        documents.decode_secrets(REPOSITORY, bytes(length))


def test_a_repositorys_secrets_come_back(secrets) -> None:
    plain = documents.encode_secrets(secrets)
    again: Secrets = documents.decode_secrets(secrets.repository_id, plain)
    assert again == secrets


REFS = st.builds(
    Refs,
    st.dictionaries(
        st.binary(min_size=16, max_size=16),
        st.lists(st.tuples(COUNT, COUNT), max_size=4).map(
            lambda runs: [n for r in runs for n in r]
        ),
        max_size=4,
    ),
)
MANIFEST = st.builds(
    Manifest,
    asset=TEXT,
    engine=TEXT,
    host=TEXT,
    consistent_at_ns=st.integers(-(2**63), 2**63 - 1),
    started_at_ns=COUNT,
    finished_at_ns=COUNT,
    entries=COUNT,
    size_bytes=COUNT,
    added_bytes=COUNT,
    problems=COUNT,
    root=st.integers(1, 3).map(lambda n: b"b" * 32 * n),
    refs=TEXT,
    tags=st.lists(TEXT, max_size=3).map(tuple),
    plan_digest=TEXT,
    version=TEXT,
    facts=st.dictionaries(TEXT, TEXT, max_size=3),
)


@QUICK
@given(refs=REFS, manifest=MANIFEST)
def test_refs_and_manifests_come_back(refs, manifest) -> None:
    assert decode_refs(encode_struct(refs)) == refs
    assert decode_manifest(encode_struct(manifest)) == manifest


@pytest.mark.parametrize("run", [[1], [1, 2, 3], [-1, 2], [1, -2]])
def test_runs_that_make_no_sense_are_refused(run) -> None:
    with pytest.raises(IntegrityError):
        decode_refs(encode_struct(Refs({b"s" * 16: run})))


PATH = st.lists(
    st.binary(min_size=1, max_size=6).filter(
        lambda part: part not in (b".", b"..") and not set(part) & {0, 47}
    ),
    min_size=1,
    max_size=3,
).map(b"/".join)
OWNER = st.integers(0, 2**32 - 2)
NUMBER = st.integers(0, 2**31 - 1)
NO_NUL = st.binary(max_size=9).map(lambda data: b"n" + data.replace(b"\0", b"-"))


def extents(numbers: list[int]) -> tuple[int, ...]:
    """Ascending, apart, in pairs of offset and length."""
    ends = sorted(numbers)[: len(numbers) // 2 * 2]
    return tuple(n for a, b in zip(ends[::2], ends[1::2], strict=True) for n in (a, b - a))


def fitting(entry: Entry) -> Entry:
    """As long as its extents; the name that a hard link is of may be a path."""
    end = sum(entry.extents[-2:])
    link = b"a/b" if entry.kind == Kind.HARDLINK else entry.link
    return msgspec.structs.replace(entry, size=max(entry.size, end), link=link)


ENTRY = st.builds(
    Entry,
    path=st.just(b".") | PATH,
    kind=st.integers(1, 8),
    mode=st.integers(0, 0o7777),
    uid=OWNER,
    gid=OWNER,
    mtime_ns=st.integers(-(2**63), 2**63 - 1),
    size=COUNT,
    blobs=st.integers(0, 3).map(lambda n: b"b" * 32 * n),
    indirect=st.booleans(),
    link=NO_NUL,
    device=st.none() | st.tuples(NUMBER, NUMBER),
    xattrs=st.lists(st.tuples(NO_NUL, st.binary(max_size=9)), max_size=2).map(tuple),
    extents=st.lists(st.integers(0, 2**40), max_size=4).map(extents),
    problem=TEXT,
).map(fitting)


@QUICK
@given(block=st.lists(ENTRY, max_size=6))
def test_a_block_of_entries_comes_back(block) -> None:
    assert entries.decode_block(entries.encode_block(block)) == block


NOWHERE = [b"", b"/", b"/etc", b"..", b"a/..", b"../a", b"a/../b", b"./a", b"a/.", b"a//b", b"a/"]


@pytest.mark.parametrize("path", [*NOWHERE, b"a\0b", b"\0"])
def test_a_path_that_leads_out_of_its_place_is_refused(path) -> None:
    with pytest.raises(IntegrityError, match="a path that may not be"):
        entries.decode_block(entries.encode_block([Entry(path, 1)]))


@pytest.mark.parametrize("path", [b".", b"a", b"...", b".a", b"a..b/..c", b"\xff\xfe", b" ", b"\n"])
def test_an_odd_path_that_stays_in_its_place_is_taken(path) -> None:
    assert entries.decode_block(entries.encode_block([Entry(path, 1)]))[0].path == path


def test_a_ragged_list_of_blobs_is_refused() -> None:
    with pytest.raises(IntegrityError):
        entries.decode_block(entries.encode_block([Entry(b"a", 1, blobs=b"b" * 33)]))


def named(count: int, first: int = 0) -> list[Entry]:
    return [Entry(b"file-%08d" % number, 1) for number in range(first, first + count)]


@QUICK
@given(block=st.lists(ENTRY, max_size=40))
def test_blocks_together_are_the_entries(block) -> None:
    assert [entry for part in entries.blocks(block) for entry in part] == block


def test_blocks_keep_within_their_bounds() -> None:
    sizes = [len(block) for block in entries.blocks(named(60_000))]
    assert max(sizes) <= entries.BLOCK_MOST_ENTRIES
    assert 60 < len(sizes) < 250
    heavy = [Entry(entry.path, 1, blobs=b"b" * (1 << 18)) for entry in named(40)]
    assert max(len(block) for block in entries.blocks(heavy)) <= 4


def test_one_file_more_changes_few_blocks() -> None:
    before = named(20_000)
    after = [*before[:7000], Entry(b"file-00006999-more", 1), *before[7000:]]
    old, new = ({entries.encode_block(b) for b in entries.blocks(e)} for e in (before, after))
    assert 1 <= len(new - old) <= 2
    assert len(new) > 10


@QUICK
@given(paths=st.lists(PATH, max_size=6), facts=st.dictionaries(TEXT, TEXT, max_size=3))
def test_a_root_comes_back(paths, facts) -> None:
    infos = tuple(BlockInfo(path, b"b" * 32, 1) for path in sorted(paths, key=sort_key))
    root = Root(infos, facts)
    assert entries.decode_root(entries.encode_root(root)) == root


def test_a_root_out_of_order_or_with_half_an_id_is_refused() -> None:
    first, second = BlockInfo(b"a/b", b"b" * 32, 1), BlockInfo(b"a-b", b"b" * 32, 1)
    entries.decode_root(entries.encode_root(Root((first, second))))
    for blocks in ((second, first), (BlockInfo(b"a", b"b" * 31, 1),)):
        with pytest.raises(IntegrityError):
            entries.decode_root(entries.encode_root(Root(blocks)))
