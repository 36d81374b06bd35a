"""What somebody deleted in a repository is noticed by those who cannot read there, too."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

PLAN = """\
version: 1
name: test
sites:
  here: {failure_domain: a}
  there: {failure_domain: b}
repositories:
  local: {site: here, path: local}
  offsite: {site: there, path: offsite, copy_of: local}
keys: {credential: file:keys/writer.key}
assets:
  tree:
    files: {paths: [live/tree]}
"""


@pytest.fixture
def site(bare):
    """One asset, saved once, and copied. The passphrase is not known, as on a production host."""
    bare.plan(PLAN)
    bare.run("init")
    bare.run("backup")
    return bare


def without_passphrase(site):
    return replace(site, variables={**site.variables, "DRCTL_PASSPHRASE": ""})


@pytest.fixture
def keyless(site):
    """Whoever deleted the keys was at both sites."""
    for place in ("local", "offsite"):
        shutil.rmtree(site.top / place / "keys")
    return without_passphrase(site)


def test_lost_keys_are_told_by_all_who_look(keyless) -> None:
    for words in (["verify"], ["verify", "--keyless"], ["verify", "--from", "offsite"]):
        assert "keys/" in keyless.run(*words, code=6).stderr
    told = keyless.json("status", code=6)
    assert {one["command"] for one in told["to_do"]} == {
        "drctl verify --repair --from local",
        "drctl verify --repair --from offsite",
    }
    assert "made again: keys/" in keyless.run("verify", "--repair").stdout


def test_a_backup_stores_nothing_that_nobody_could_open(keyless, site) -> None:
    told = keyless.run("backup", code=11)
    assert "made again" in told.stderr
    keyless.run("backup")
    for place in ("local", "offsite"):
        site.run("restore", "tree", "--from", place, "--to", site.top / f"from-{place}")
    shutil.rmtree(site.top / "local/keys")
    assert "key of first, which was lost" in keyless.run("init").stdout
    keyless.run("verify", "--keyless")


def test_a_replication_tells_of_keys_that_the_original_lost(site) -> None:
    """The copy, which has them, is sound; one that is made now could not be opened."""
    host = without_passphrase(site)
    (key,) = (site.top / "local/keys").iterdir()
    key.rename(site.top / "away")
    told = host.run("replicate")
    assert f"keys/{key.name} is missing: without it first cannot open" in told.stderr
    assert "verify --repair" in told.stderr
    shutil.rmtree(site.top / "offsite")
    told = host.run("replicate", "--to", "offsite", code=6)
    assert f"offsite: keys/{key.name} is missing: without it first cannot open" in told.stderr
    assert len(list((site.top / "offsite/snapshots").iterdir())) == 1  # all else was copied
    host.run("verify", "--repair")
    assert "missing" not in host.run("replicate").stderr
    site.run("restore", "tree", "--from", "offsite", "--to", site.top / "back")


def test_lost_sessions_are_told_by_who_cannot_read(site) -> None:
    host = without_passphrase(site)
    (session,) = (p for p in (site.top / "local/sessions").rglob("*") if p.is_file())
    session.unlink()
    told = host.run("verify", code=6)
    assert session.name in told.stderr
    (to_do,) = host.json("status", code=6)["to_do"]
    assert session.name in to_do["what"]
    assert "mended: sessions/" in host.run(*to_do["command"].split()[1:]).stdout
    assert host.json("status")["to_do"] == []
    assert Path(session).exists()


def test_an_emptied_repository_is_not_well(site) -> None:
    """Whole in itself, as somebody left it who deleted all that was in it."""
    host = without_passphrase(site)
    for folder in ("snapshots", "refs", "index", "packs", "sessions"):
        shutil.rmtree(site.top / "local" / folder)
    told = host.run("verify", code=6)
    assert "no snapshot of tree" in told.stdout + told.stderr
    assert "not looked at: offsite; see 'drctl verify offsite'" in told.stdout
    assert host.run("verify", "offsite").stdout.startswith("offsite, ")
    bring_back = {
        "what": "local has lost 1 snapshot that offsite has",
        "command": "drctl replicate --from offsite --to local",
    }
    assert bring_back in host.json("status", code=6)["to_do"]
    host.run("backup")
    assert bring_back in host.json("status", code=6)["to_do"]
    host.run(*bring_back["command"].split()[1:])
    assert host.json("status")["to_do"] == []
    assert host.json("verify")["snapshots"] == 2


# -- what nothing mends ---------------------------------------------------------------------------


def lost_refs(site, name: str) -> None:
    for path in (site.top / "local/refs").iterdir():
        path.unlink()
    assert name


def spoilt_manifest(site, name: str) -> None:
    path = site.top / "local/snapshots" / name
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("damage", [lost_refs, spoilt_manifest])
def test_a_snapshot_that_nothing_mends_is_given_up_and_prune_goes_on(site, damage) -> None:
    shutil.rmtree(site.top / "offsite")
    site.plan(PLAN.replace("path: local}", "path: local, keep: {last: 1}}"))
    (old,) = (s["id"] for s in site.snapshots())
    damage(site, old)
    told = site.run("prune", "--from", "local", code=6).stderr
    assert f"drctl forget {old[:8]}" in told
    site.run("verify", "--repair", code=6)
    site.run("forget", old[:8], code=2)  # nobody confirmed it
    assert old[:8] in site.run("forget", old[:8], "--yes").stdout
    (site.top / "live/tree/new.txt").write_text("new")
    site.run("backup", code=11)  # the copy is gone
    site.run("prune", "--from", "local", "--grace", "0s")
    site.run("verify", "--read-data", "100")
    site.run("restore", "tree", "--to", site.top / "back")
    assert (site.top / "back/new.txt").exists()


def test_a_sound_snapshot_that_was_forgotten_comes_back_and_a_held_one_stays(site) -> None:
    (made,) = (s["id"] for s in site.snapshots())
    assert "snapshot 'ffffffff'" in site.run("hold", made, "ffffffff", code=2).stderr
    assert "held" not in site.run("snapshots").stdout  # all of what was asked, or nothing
    site.run("hold", made, "--reason", "the auditor wants it")
    assert "unhold" in site.run("forget", made, "--yes", code=2).stderr
    site.run("unhold", made)
    assert site.json("forget", made, "--yes")["forgotten"] == {made: "trashed"}
    assert site.snapshots() == []
    assert [s["id"] for s in site.snapshots("--from", "offsite")] == [made]
    hint = site.run("ls", made[:6], code=2).stderr
    assert "local has it in its trash" in hint
    assert "--from offsite" in hint
    site.run("undelete", made)
    assert [s["id"] for s in site.snapshots()] == [made]
    assert "--from local" in site.run("undelete", made[:8], code=2).stderr


def test_a_hold_that_no_repository_could_take_is_no_partial_one(site) -> None:
    (made,) = (s["id"] for s in site.snapshots())
    for place in ("local", "offsite"):
        (site.top / place / "config").unlink()
    assert "nothing was held" in site.run("hold", made, code=5).stderr


def test_a_damaged_restore_tells_where_it_may_be_sound(site) -> None:
    for path in (site.top / "local/packs").glob("*/*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
    told = site.run("restore", "tree", "--to", site.top / "back", code=6).stdout
    assert "DAMAGED in the repository" in told
    assert "in another repository (local, offsite)" in told
    done = site.json("restore", "tree", "--to", site.top / "again", code=6)
    assert done["damaged"] > 0
    assert done["entries"] == done["snapshot"]["entries"] - len(done["entry_problems"])
