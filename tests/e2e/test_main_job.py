"""From a plan to a repository and back, with the real command."""

import hashlib
import json
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest


def test_init_makes_what_is_missing_and_leaves_what_is_there(bare) -> None:
    made = {thing["what"]: thing["made"] for thing in bare.json("init")}
    assert made == {
        "plan": False,
        "identity": True,
        "writer credential": True,
        "repository local": True,
        "repository offsite": True,
    }
    before = (bare.top / "keys/writer.key").read_bytes()
    assert not any(thing["made"] for thing in bare.json("init"))
    assert (bare.top / "keys/writer.key").read_bytes() == before


def test_init_writes_a_starter_plan_that_works_as_it_is(bare) -> None:
    (bare.top / "plan.yaml").unlink()
    bare.run("init", "--yes")
    (bare.top / "data" / "file").write_text("mine")
    bare.run("backup")
    bare.run("restore", "data", "--to", bare.top / "back")
    assert (bare.top / "back" / "file").read_text() == "mine"


def test_everything_that_init_and_backup_make_is_private(site) -> None:
    site.run("backup")
    for folder in ("keys", "local", "offsite", "state"):
        for path in (site.top / folder, *(site.top / folder).rglob("*")):
            assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_what_is_backed_up_comes_back_from_either_site(site, differences) -> None:
    site.run("backup")
    for name in ("local", "offsite"):
        back = site.top / f"back-{name}"
        site.run("restore", "tree", "--from", name, "--to", back / "tree")
        assert differences(site.top / "live/tree", back / "tree") == ""
        site.run("restore", "base", "--from", name, "--to", f"{back}/")
        with closing(sqlite3.connect(back / "base.db")) as database:
            assert database.execute("select count(*) from t").fetchone() == (1000,)
        site.run("restore", "dump", "--from", name, "--to", back / "dump.txt")
        assert (back / "dump.txt").read_text().startswith("dumped\n")


def test_an_unchanged_tree_is_neither_read_nor_stored_again(site) -> None:
    time.sleep(2.5)  # what changed in the last two seconds is read again, to be safe
    first = site.json("backup", "tree")["snapshots"][0]
    (site.top / "live/tree/new").write_text("new\n")
    again = site.json("backup", "tree")["snapshots"][0]
    assert (first["new"], first["unchanged"]) == (9, 0)
    assert (again["new"], again["changed"], again["unchanged"]) == (1, 1, 8)
    assert again["read_bytes"] == 4
    assert first["added_bytes"] > 700_000
    assert 0 < again["added_bytes"] < 10_000


def test_what_is_read_again_to_be_safe_is_not_told_as_changed(site) -> None:
    (site.top / "live/tree/just-now").write_text("young\n")
    site.run("backup", "tree")
    (site.top / "live/tree/just-now").write_text("young!\n")
    again = site.json("backup", "tree")["snapshots"][0]
    assert (again["new"], again["changed"], again["unchanged"]) == (0, 1, 9)


def test_a_lost_state_costs_reading_but_stores_nothing_twice(site) -> None:
    site.run("backup", "tree")
    for path in (site.top / "state").rglob("tree.state"):
        path.unlink()
    again = site.json("backup", "tree")["snapshots"][0]
    assert again["read_bytes"] > 700_000
    assert again["added_bytes"] == 0


def test_only_what_is_asked_for_is_restored(site) -> None:
    site.run("backup", "tree")
    back = site.top / "back"
    site.run("restore", "tree", "--path", "sub/deeper", "--path", "a.txt", "--to", back)
    found = sorted(str(p.relative_to(back)) for p in back.rglob("*"))
    assert found == ["a.txt", "sub", "sub/deeper", "sub/deeper/c.bin"]


def test_a_hard_link_asked_for_alone_comes_with_its_content(site) -> None:
    site.run("backup", "tree")
    site.run("restore", "tree", "--path", "sub/same-as-a", "--to", site.top / "back")
    assert (site.top / "back/sub/same-as-a").read_text() == "alpha\n"


def test_a_whole_path_of_the_source_is_understood(site) -> None:
    site.run("backup", "tree")
    whole = site.top / "live/tree/sub/b.txt"
    site.run("restore", "tree", "--path", whole, "--to", site.top / "back")
    assert (site.top / "back/sub/b.txt").read_text() == "beta\n"


def test_several_roots_stand_under_their_whole_paths(site, differences) -> None:
    text = (site.top / "plan.yaml").read_text()
    site.plan(text.replace("paths: [live/tree]", "paths: [live/tree/sub, live/base.db]"))
    site.run("backup", "tree")
    site.run("restore", "tree", "--to", site.top / "back")
    below = site.top / "back" / str(site.top).lstrip("/") / "live"
    assert (below / "tree/sub/b.txt").read_text() == "beta\n"
    assert (below / "base.db").exists()
    assert differences(site.top / "live/tree/sub", below / "tree/sub") == ""


def test_a_file_below_another_path_is_a_root_like_a_directory(site) -> None:
    text = (site.top / "plan.yaml").read_text()
    kept = "paths: [live/tree, live/tree/sub/b.txt], exclude: ['b.*']"
    site.plan(text.replace("paths: [live/tree]", kept))
    site.run("backup", "tree")
    site.run("restore", "tree", "--to", site.top / "back")
    below = site.top / "back" / str(site.top).lstrip("/") / "live/tree"
    assert (below / "sub/b.txt").read_text() == "beta\n"
    assert (below / "a.txt").exists()


def test_a_verify_says_no_more_the_more_snapshots_there_are(site) -> None:
    """Cron sends it by mail: a warning must not be lost among lines."""
    site.run("backup", "tree")
    few = site.run("verify").stderr.splitlines()
    for _ in range(3):
        site.run("backup", "tree")
    many = site.run("verify").stderr.splitlines()
    assert len(many) == len(few)
    assert any("the entries of 4 snapshots" in line for line in many)


def test_an_earlier_state_comes_back_by_time_and_by_name(site) -> None:
    file = site.top / "live/tree/a.txt"
    first = site.json("backup", "tree")["snapshots"][0]
    file.write_text("changed\n")
    site.run("backup", "tree")
    at = first["consistent_at"]
    site.run("restore", "tree", "--at", at, "--to", site.top / "by-time")
    site.run("restore", first["id"][:8], "--to", site.top / "by-name")
    site.run("restore", "tree", "--to", site.top / "newest")
    assert (site.top / "by-time/a.txt").read_text() == "alpha\n"
    assert (site.top / "by-name/a.txt").read_text() == "alpha\n"
    assert (site.top / "newest/a.txt").read_text() == "changed\n"
    site.run("restore", "tree", "--at", "1999-01-01", "--to", site.top / "none", code=2)


def test_diff_names_what_changed(site) -> None:
    tree = site.top / "live/tree"
    first = site.json("backup", "tree")["snapshots"][0]["id"]
    (tree / "a.txt").write_text("other\n")
    (tree / "new").write_text("new")
    (tree / "empty").unlink()
    (tree / "sub/b.txt").chmod(0o600)
    second = site.json("backup", "tree")["snapshots"][0]["id"]
    found = {c["path"]: c["what"] for c in site.json("diff", first, second)["changes"]}
    assert found.pop(".") == "metadata"
    assert found == {
        "a.txt": "content",
        "new": "added",
        "empty": "removed",
        "sub/b.txt": "metadata",
    }


def test_ls_shows_what_is_there(site) -> None:
    site.run("backup", "tree")
    listed = {e["path"]: e for e in site.json("ls", "tree")["entries"]}
    assert listed["link"]["link"] == "a.txt"
    assert listed["sub/same-as-a"]["kind"] == "hardlink"
    assert listed["sub/deeper/c.bin"]["size_bytes"] == 700_000
    below = [e["path"] for e in site.json("ls", "tree", "sub/deeper")["entries"]]
    assert below == ["sub/deeper", "sub/deeper/c.bin"]


def test_the_copy_alone_suffices(site, differences) -> None:
    site.run("backup")
    for path in sorted((site.top / "local").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (site.top / "keys/writer.key").unlink()
    site.run("restore", "tree", "--from", "offsite", "--to", site.top / "back")
    assert differences(site.top / "live/tree", site.top / "back") == ""


def test_verify_reads_as_deep_as_the_keys_allow(site) -> None:
    site.run("backup")
    assert site.json("verify", "--read-data", "100")["depth"] == "content"
    assert site.json("verify", "--keyless")["depth"] == "scrub"
    site.variables["DRCTL_PASSPHRASE"] = ""
    assert site.json("verify")["depth"] == "structure"


def test_storage_check_proves_a_storage(site) -> None:
    found = site.json("storage", "check", "local")
    assert len(found["checks"]) >= 15
    assert all(check["ok"] for check in found["checks"])
    assert not list((site.top / "local").glob("check-*"))


def test_json_is_one_document_and_digests_name_the_plan(site) -> None:
    made = site.json("backup")["snapshots"]
    digest = hashlib.sha256((site.top / "plan.yaml").read_bytes()).hexdigest()
    assert {s["plan_digest"] for s in made} == {digest}
    assert [s["asset"] for s in made] == ["tree", "base", "dump"]
    listed = site.snapshots()
    assert [s["id"] for s in listed] == [s["id"] for s in made]
    assert site.snapshots("base")[0]["facts"]["tables"] == "1"


def test_quiet_says_nothing_when_all_is_well(site) -> None:
    done = site.run("backup", "--quiet")
    assert done.stdout + done.stderr == ""


def test_the_demo_comes_out_well_with_as_few_open_files_as_are_asked_for(bare, limited) -> None:
    said = limited(bare, 64, "demo").stdout
    assert "the demo came out well" in said
    assert "PostgreSQL came back in the drill with" in said
    assert "Redis" in said
    assert max(len(line) for line in said.splitlines()) <= 80


@pytest.mark.parametrize("words", [("init",), ("backup",), ("snapshots",), ("validate",)])
def test_a_mistaken_plan_tells_everything_at_once(bare, words) -> None:
    bare.plan("version: 1\nname: X\nassets: {a: {files: {pths: [x]}}}\n")
    told = bare.json(*words, code=3)["error"]["problems"]
    assert len(told) == 4
    assert all(":" in line for line in told)


def test_every_snapshot_is_a_json_line_away_from_a_script(site) -> None:
    site.run("backup", "base")
    out = site.run("snapshots", "base", "--json").stdout
    assert json.loads(out)[0]["status"] == "complete"


def test_a_restored_database_keeps_its_mode_and_wal(site) -> None:
    database = site.top / "live/base.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("insert into t (v) values ('in the log')")
        connection.commit()
        log = Path(f"{database}-wal").read_bytes()
        site.run("backup", "base")
        assert Path(f"{database}-wal").read_bytes() == log
    database.chmod(0o640)
    site.run("backup", "base")
    site.run("restore", "base", "--to", site.top / "back.db")
    assert stat.S_IMODE((site.top / "back.db").stat().st_mode) == 0o640
    with closing(sqlite3.connect(site.top / "back.db")) as connection:
        assert connection.execute("select count(*) from t").fetchone() == (1001,)
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
