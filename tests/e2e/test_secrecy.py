"""What a production host's own key can see: not one byte of content, not one path."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drctl.clock import system_randomness
from drctl.codec import documents, keys
from drctl.codec.seal import DataSeal
from drctl.codec.segment import decode
from drctl.errors import IntegrityError, KeyUnavailable
from drctl.repository import catalog, lifecycle, names
from drctl.repository.repository import Repository
from drctl.storage.local import Local

MARKS = (b"zebra-folder", b"quagga-file", b"okapi-content", b"tapir-row", b"/live", b"gnu-link")


@pytest.fixture
def marked(site):
    """A repository whose every path and content bears a mark."""
    folder = site.top / "live/tree/zebra-folder"
    folder.mkdir()
    (folder / "quagga-file").write_text("okapi-content\n" * 100)
    (folder / "a-link").symlink_to("gnu-link")
    with closing(sqlite3.connect(site.top / "live/base.db")) as database, database:
        database.execute("insert into t (v) values ('tapir-row')")
    site.run("backup")
    return site


def as_host(site) -> Repository:
    """Opened with nothing but what the production host holds."""
    credential = keys.decode_credential((site.top / "keys/writer.key").read_text())
    return lifecycle.open_as_writer(Local(str(site.top / "local")), credential, system_randomness)


def everything_a_host_can_open(repository: Repository) -> dict[str, bytes]:
    """Every object as it lies there, and the plain bytes of all that the credential opens."""
    found: dict[str, bytes] = {}
    kinds = {
        names.INDEX: documents.INDEX_MAGIC,
        names.REFS: documents.REFS_MAGIC,
        names.SNAPSHOTS: documents.SNAPSHOT_MAGIC,
    }
    for info in repository.storage.list():
        found[info.name] = repository.storage.get(info.name)
        for folder, magic in kinds.items():
            if info.name.startswith(folder):
                digest = names.digest_of(info.name)
                found[f"{info.name} opened"] = repository.get_meta(folder, magic, digest)
        if info.name.startswith(names.PACKS):
            found[f"{info.name} contents"] = repr(repository.read_toc(info)).encode()
    return found


def test_a_writer_credential_reveals_no_content_and_no_path(marked) -> None:
    found = everything_a_host_can_open(as_host(marked))
    assert sum(name.endswith("opened") for name in found) >= 9
    for name, data in found.items():
        assert not any(mark in data for mark in MARKS), name


def test_the_test_would_notice(marked) -> None:
    """With the identity the same marks are there to be found."""
    listed = json.dumps(marked.json("ls", "tree"))
    assert all(mark.decode() in listed for mark in (MARKS[0], MARKS[1], MARKS[5]))


def test_no_key_of_a_host_opens_a_segment(marked) -> None:
    repository = as_host(marked)
    held = (repository.secrets.blob_key, repository.secrets.meta_key)
    tried = 0
    for info in repository.storage.list(names.PACKS):
        data = repository.storage.get(info.name)
        for found in repository.read_toc(info).segments:
            sealed = data[found.offset : found.offset + found.stored_bytes]
            for key in held:
                guess = DataSeal(repository.secrets.repository_id, found.session, key)
                with pytest.raises(IntegrityError):
                    decode(guess, found.number, found.compression, found.raw_bytes, sealed)
                tried += 1
    assert tried >= 6


def test_no_key_of_a_host_opens_a_session(marked) -> None:
    """A session's data key is sealed to recipients; the host holds their public keys only."""
    repository = as_host(marked)
    for info in repository.storage.list(names.SESSIONS):
        data = repository.storage.get(info.name)
        for key in (repository.secrets.blob_key, repository.secrets.meta_key):
            for start in range(len(data) - 44):
                with pytest.raises(InvalidTag):
                    AESGCM(key).decrypt(bytes(12), data[start:], None)


def test_restoring_with_the_credential_alone_is_refused(marked) -> None:
    (marked.top / "keys/identity.key").unlink()
    told = marked.run("restore", "tree", "--to", "x", code=KeyUnavailable.exit_code).stderr
    assert "identity.key" in told
    assert len(marked.snapshots()) == 3


def test_what_the_host_remembers_is_private_and_not_in_the_repository(marked) -> None:
    """The state holds paths, as the live data beside it does; it never leaves the host."""
    held = {path.name for path in (marked.top / "local").iterdir()}
    assert held <= {"config", "keys", "sessions", "packs", "index", "refs", "snapshots", "tmp"}
    for path in (marked.top / "state").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_snapshots_tell_a_host_what_it_needs_and_no_more(marked) -> None:
    repository = as_host(marked)
    facts = [snapshot.facts for snapshot in catalog.load(repository).snapshots]
    assert not any(str(Path(marked.top)) in json.dumps(fact) for fact in facts)
