"""Ransomware and a mass deletion, on a real tree with the real command."""

import json
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
recovery: {steps: {tree: {restore: tree}}}
checks: [{asset: tree, compare: manifest}]
drills: {try: {from: local}}
metrics: {textfile: node/drctl.prom}
notify: {to: [{run: [./tell]}]}
"""


def with_history(site):
    """Forty documents of text; a new one, and a changed one, between one backup and the next."""
    site.plan(PLAN)
    (site.top / "tell").write_text("#!/bin/sh\ncat > told\n")
    (site.top / "tell").chmod(0o755)
    (site.top / "node").mkdir()
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
    done = site.run("backup", code=11)
    told = json.loads((site.top / "told").read_text())
    assert "tree is SUSPECT: " in " ".join(told["reasons"])
    metrics = (site.top / "node/drctl.prom").read_text()
    assert 'drctl_snapshot_suspect{plan="test",asset="tree"} 1.0' in metrics
    assert "is SUSPECT" in done.stderr
    assert "no longer compresses" in done.stderr
    assert "entries are gone" in done.stderr
    assert "drctl backup --accept" in done.stderr
    for _ in range(3):
        assert "SUSPECT" in site.run("backup", code=11).stdout
    site.run("prune", "--grace", "1ms")
    left = {s["id"]: s["suspect"] for s in site.snapshots()}
    assert set(good[-3:]) <= left.keys()
    assert sum(bool(why) for why in left.values()) == 3
    told = site.json("status", code=11)
    assert told["assets"][0]["verdict"] == "met"
    assert len(told["assets"][0]["suspect_snapshots"]) == 3
    assert "drctl backup --accept tree" in told["to_do"][0]["command"]
    what_comes_back_is_the_last_good_one(site, good[-1], site.snapshots()[-1]["id"])


def what_comes_back_is_the_last_good_one(site, good: str, newest: str) -> None:
    """Whoever takes an asset by its name at four in the morning means that, and is told."""
    told = f"the newest, {newest[:8]} of "
    for words in (["ls", "tree"], ["restore", "tree", "--to", "back"]):
        said = site.run(*words).stderr
        assert told in said
        assert "is SUSPECT, as 2 are before it: since " in said
        assert f"The last good one is taken, {good[:8]} of " in said
        assert f"whoever wants the newest names it: {newest[:8]}" in said
    assert (site.top / "back/01.txt").read_text().startswith("1: line 0")
    said = site.run("restore", newest, "--to", "encrypted").stderr
    assert f"{newest[:8]} of " in said
    assert f"the last good one is {good[:8]} of " in said
    diff = site.run("diff", "tree")
    assert f"compared with {good[:8]}" in diff.stderr
    assert "+ 01.txt.locked" in diff.stdout

    done = site.run("recover", "--yes", "--to", "recovered")
    assert "'drctl recover --even-suspect' takes the newest" in done.stderr
    assert f"not the newest, {newest[:8]}, which is SUSPECT" in done.stderr
    assert (site.top / "recovered/tree/01.txt").exists()
    said = site.run("recover", "--yes", "--even-suspect", "--to", "as-it-was").stderr
    assert "IT IS SUSPECT" in said
    assert (site.top / "as-it-was/tree/01.txt.locked").exists()
    drilled = site.run("drill", "try")
    assert "of tree the last good one: newer ones are SUSPECT" in " ".join(drilled.stdout.split())
    for one in site.snapshots():
        if not one["suspect"]:
            site.run("forget", one["id"], "--yes")
    assert "tree: no good snapshot: " in " ".join(site.run("drill", "try", code=10).stdout.split())
    assert "there is no good one here" in site.run("ls", "tree").stderr


def test_a_mass_deletion_is_suspect_until_somebody_accepts_it(site) -> None:
    docs, _ = with_history(site)
    for n in range(30):
        (docs / f"{n:02d}.txt").unlink()
    assert "entries are gone" in site.run("backup", code=11).stderr
    assert "nobody has accepted" in site.run("backup", code=11).stderr
    made = site.json("backup", "--accept")["snapshots"][0]
    assert made["suspect"] == ""
    assert "entries are gone" in made["facts"]["anomaly_accepted"]
    assert "SUSPECT" not in site.run("backup").stdout
