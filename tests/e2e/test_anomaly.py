"""Ransomware and a mass deletion, on a real tree with the real command."""

import os

PLAN = """\
version: 1
name: test
objectives: {rpo: 2h}
sites:
  here: {failure_domain: a}
repositories:
  local: {site: here, path: local, keep: {last: 3}}
keys: {credential: file:keys/writer.key}
assets:
  tree:
    files: {paths: [live/docs]}
    schedule: hourly
"""


def with_history(site):
    """Forty documents of text; a new one, and a changed one, between one backup and the next."""
    site.plan(PLAN)
    docs = site.top / "live" / "docs"
    docs.mkdir()
    for n in range(40):
        lines = (f"{n}: line {i} of a document that people write\n" for i in range(1500))
        (docs / f"{n:02d}.txt").write_text("".join(lines))
    for n in range(6):
        (docs / f"new-{n}.txt").write_text(f"letter {n}\n" * 500)
        (docs / "00.txt").write_text(f"written anew, {n}\n" * 900)
        done = site.run("backup")
        assert "SUSPECT" not in done.stdout + done.stderr
    return docs, [s["id"] for s in site.snapshots()]


def encrypt(docs) -> None:
    for path in docs.iterdir():
        path.write_bytes(os.urandom(path.stat().st_size))
        path.rename(f"{path}.locked")


def test_what_ransomware_encrypted_is_suspect_and_pushes_no_good_snapshot_out(site) -> None:
    docs, good = with_history(site)
    encrypt(docs)
    done = site.run("backup")
    assert "is SUSPECT" in done.stderr
    assert "no longer compresses" in done.stderr
    assert "entries are gone" in done.stderr
    assert "drctl backup --accept" in done.stderr
    for _ in range(3):
        assert "SUSPECT" in site.run("backup").stdout
    site.run("prune", "--grace", "1ms")
    left = {s["id"]: s["suspect"] for s in site.snapshots()}
    assert set(good[-3:]) <= left.keys()
    assert sum(bool(why) for why in left.values()) == 3
    told = site.json("status", code=0)
    assert told["assets"][0]["verdict"] == "met"
    assert len(told["assets"][0]["suspect_snapshots"]) == 3
    assert "drctl backup --accept tree" in told["to_do"][0]["command"]


def test_a_mass_deletion_is_suspect_until_somebody_accepts_it(site) -> None:
    docs, _ = with_history(site)
    for n in range(30):
        (docs / f"{n:02d}.txt").unlink()
    assert "entries are gone" in site.run("backup").stderr
    assert "nobody has accepted" in site.run("backup").stderr
    made = site.json("backup", "--accept")["snapshots"][0]
    assert made["suspect"] == ""
    assert "entries are gone" in made["facts"]["anomaly_accepted"]
    assert "SUSPECT" not in site.run("backup").stdout
