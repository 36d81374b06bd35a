"""The site is gone, and the config of the last copy does not read: its data comes back."""

import json
import shutil

import pytest

PLAN = """\
version: 1
name: test
sites: {here: {failure_domain: a}, there: {failure_domain: b}}
repositories:
  local: {site: here, path: local}
  off: {site: there, path: off, copy_of: local}
keys: {credential: file:keys/writer.key, identity: file:keys/identity.key}
assets:
  tree: {files: {paths: [live/tree]}}
"""


@pytest.fixture
def last_copy(bare):
    bare.plan(PLAN)
    bare.run("init")
    bare.run("backup")
    bare.run("kit", "--to", "kit", "--yes")
    shutil.rmtree(bare.top / "local")
    (bare.top / "keys/writer.key").unlink()
    (bare.top / "off/config").chmod(0o600)
    return bare


def turned(config: bytes, part: str) -> bytes:
    """Another last digit of a part of it."""
    told = json.loads(config)[part]
    return config.replace(told.encode(), (told[:-1] + "01"[told[-1] == "0"]).encode())


def test_an_identity_or_a_kit_reads_what_a_damaged_config_stands_before(last_copy) -> None:
    path = last_copy.top / "off/config"
    whole = path.read_bytes()
    damage = [b"", b"\x00" + whole[1:], turned(whole, "repository"), turned(whole, "mark"), None]
    for number, data in enumerate(damage):
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        to = f"out{number}"
        told = last_copy.run("restore", "tree", "--from", "off", "--to", to).stderr
        assert "is read by the identity's own key all the same" in " ".join(told.split())
        assert (last_copy.top / to / "a.txt").read_text() == "alpha\n"
        assert len(last_copy.json("snapshots", "--from", "off")) == 1
        if not data:
            last_copy.run("restore", "tree", "--kit", "kit", "--to", f"{to}-kit")
            assert (last_copy.top / f"{to}-kit/a.txt").read_text() == "alpha\n"
        else:
            path.write_bytes(whole)
    # Nothing may be sealed for whom nobody knows.
    last_copy.run("key", "credential", "made.key", "--from", "off", code=5)
    assert not (last_copy.top / "made.key").exists()


def test_a_config_of_a_later_drctl_is_not_passed_over(last_copy) -> None:
    path = last_copy.top / "off/config"
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), "format": 9}).encode())
    said = last_copy.run("restore", "tree", "--from", "off", "--to", "out", code=6).stderr
    assert "format 9 is not known to this drctl" in said
