"""How things stand, told by the real command."""

import os
import shutil


def standing(told, asset, repository):
    return next(s for s in told["assets"] if (s["asset"], s["repository"]) == (asset, repository))


def test_met_missed_and_behind(site) -> None:
    told = site.json("status", code=10)
    assert {s["verdict"] for s in told["assets"]} == {"missed"}
    site.run("backup")
    told = site.json("status")
    assert {s["verdict"] for s in told["assets"]} == {"met"}
    assert [c["lag_objects"] for c in told["copies"]] == [0]
    assert told["to_do"] == []
    shutil.move(site.top / "offsite", site.top / "away")
    (site.top / "live/tree/new.txt").write_text("new\n")
    site.run("backup", "tree", code=11)
    told = site.json("status", code=11)
    assert standing(told, "tree", "local")["verdict"] == "met"
    assert standing(told, "tree", "offsite")["verdict"] == "unknown"
    assert told["copies"][0]["lag_objects"] is None
    shutil.move(site.top / "away", site.top / "offsite")
    told = site.json("status")
    assert told["copies"][0]["lag_seconds"] > 0
    assert told["copies"][0]["lag_bytes"] > 0
    assert {"what": "offsite is behind local", "command": "drctl replicate"} in told["to_do"]
    text = site.run("status").stdout
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "behind" in text
    site.run("replicate")
    assert "all is well" in site.run("status").stdout


def test_a_piece_of_a_log_that_was_just_stored_is_nobodys_to_copy(site) -> None:
    """The stream does it by itself, every few seconds."""
    site.run("backup")
    piece = site.top / "local/log/stream/piece"
    piece.parent.mkdir(parents=True)
    piece.write_bytes(b"piece")
    told = site.json("status")
    assert (told["copies"][0]["lag_objects"], told["to_do"]) == (1, [])
    os.utime(piece, times=(1_700_000_000, 1_700_000_000))
    due = {"what": "offsite is behind local", "command": "drctl replicate"}
    assert site.json("status")["to_do"] == [due]


def test_an_old_point_is_missed_and_no_repository_at_all_is_no_answer(site) -> None:
    site.run("backup")
    plan = (site.top / "plan.yaml").read_text()
    site.plan(plan.replace("rpo: 2h", "rpo: 1ms"))
    text = site.run("status", code=10).stdout
    assert "drctl backup tree" in text
    site.plan(plan.replace("objectives: {rpo: 2h}\n", ""))
    assert {s["verdict"] for s in site.json("status")["assets"]} == {"none"}
    shutil.rmtree(site.top / "offsite")
    shutil.rmtree(site.top / "local")
    told = site.json("status", code=5)
    assert all(r["trouble"] for r in told["repositories"])


def test_an_asset_that_was_never_saved_is_to_be_done_without_any_objective(site) -> None:
    plan = (site.top / "plan.yaml").read_text()
    site.plan(plan.replace("objectives: {rpo: 2h}\n", ""))
    site.run("backup", "tree", "base")
    told = site.json("status", code=10)
    due = {"what": "dump has no snapshot in local", "command": "drctl backup dump"}
    assert told["to_do"] == [due]
    site.run("backup", "dump")
    assert "all is well" in site.run("status").stdout


def test_a_copy_whose_secret_is_missing_hides_nothing_of_the_others(site) -> None:
    site.run("backup")
    plan = (site.top / "plan.yaml").read_text()
    place = "{bucket: dr-example, credentials: {access_key: env:NOT_SET, secret_key: env:NOT_SET}}"
    site.plan(plan.replace("path: offsite", f"s3: {place}"))
    told = site.json("status", code=11)
    assert standing(told, "tree", "local")["verdict"] == "met"
    assert standing(told, "tree", "offsite")["verdict"] == "unknown"
    trouble = {r["repository"]: r["trouble"] for r in told["repositories"]}
    assert trouble == {"local": "", "offsite": "the environment has no NOT_SET"}
    newest = standing(told, "tree", "local")["newest_snapshot"]
    assert "local: " in site.run("hold", newest, code=11).stdout
