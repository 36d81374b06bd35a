"""One plan on two hosts, and a host that was replaced, with the real command."""

from pathlib import Path

import pytest

PLAN = """\
version: 1
name: fleet
host: {host}
objectives: {{rpo: 2h}}
sites: {{here: {{failure_domain: a}}}}
repositories:
  local: {{site: here, path: ../local, keep: {{last: 2, grace: 1ms}}}}
keys: {{credential: file:../keys/writer.key}}
assets:
  conf:
    files: {{paths: [etc]}}
groups:
  all: {{assets: [conf]}}
"""


@pytest.fixture
def hosts(tmp_path: Path, new_site):
    """Makes a host of that name, with the plan of all, and what it saves."""
    (tmp_path / "keys").mkdir()

    def make(host: str):
        top = tmp_path / host
        (top / "home").mkdir(parents=True)
        (top / "etc").mkdir()
        (top / "etc/hostname").write_text(host)
        site = new_site(top)
        site.plan(PLAN.format(host=host))
        return site

    return make


@pytest.fixture
def two(hosts):
    a, b = hosts("a"), hosts("b")
    a.run("init")
    return a, b


def restored(site, *words: str) -> str:
    backs = site.top / "back"
    backs.mkdir(exist_ok=True)
    place = backs / str(len(list(backs.iterdir())))
    done = site.run("restore", *words, "--to", place)
    site.said = done.stderr
    (found,) = place.rglob("hostname")
    return found.read_text()


def test_two_hosts_with_one_plan_have_each_their_own(two, hosts) -> None:
    a, b = two
    a.run("backup")
    first = b.run("backup")
    assert "this is the first snapshot of host b; there are some of a" in first.stderr
    for _ in range(3):
        assert "first snapshot" not in b.run("backup").stderr
    assert "2 snapshots removed" in b.run("prune").stdout
    assert [s["host"] for s in a.snapshots()] == ["a", "b", "b"]
    assert restored(a, "conf") == "a"
    assert "host b has saved since this one, a, did; its newest" in a.said
    assert restored(a, "conf@b") == restored(b, "conf") == "b"
    assert restored(b, "conf@a") == "a"
    a.run("backup")
    assert "conf@a" in a.run("snapshots").stdout
    assert {s["host"] for s in a.snapshots("conf@b")} == {"b"}
    new = hosts("new")
    refused = new.run("restore", "conf", "--to", new.top / "back", code=2)
    assert "conf is saved by 2 hosts, a, b, and this one, new, is none of them" in refused.stderr
    new.plan(PLAN.format(host="a"))  # it stands in the place of a
    assert restored(new, "conf") == "a"


def test_another_hosts_snapshot_meets_no_objective_of_this_one(two, hosts) -> None:
    a, b = two
    b.run("backup")
    a.run("backup")
    b.run("backup")
    (told,) = a.json("status")["assets"]
    assert (told["verdict"], told["newest_host"], told["other_hosts"]) == ("met", "a", ["b"])
    assert "beside b" in a.run("status").stdout
    new = hosts("new")
    (told,) = new.json("status", code=10)["assets"]
    assert (told["verdict"], told["newest_snapshot"]) == ("missed", None)
    assert "conf of this host has no recovery point" in new.run("status", code=10).stdout


def test_a_host_that_took_over_goes_on_without_a_word_from_anybody(two) -> None:
    old, new = two
    old.run("backup")
    (told,) = new.json("status")["assets"]
    assert (told["verdict"], told["newest_host"]) == ("met", "a")
    assert restored(new, "conf") == "a"
    assert "is of host a, not of this one, b" in new.said
    assert restored(new, "all") == "a"
    (new.top / "etc/hostname").write_text("b")
    new.run("backup")
    assert restored(new, "conf") == "b"
    assert "of host" not in new.said
    changed = new.run("diff", "conf").stdout
    assert "M hostname" in changed
    assert "all is well" in new.run("status").stdout


def test_what_another_plan_saves_under_a_name_is_told(site) -> None:
    """One that was copied, with its assets' names."""
    text, said = (site.top / "plan.yaml").read_text(), "is of other paths"
    site.run("backup", "tree")
    (site.top / "live/other").mkdir()
    (site.top / "live/other/theirs").touch()
    site.plan(text.replace("live/tree", "live/other"))
    assert said in site.run("backup", "tree", "--accept").stderr
    site.plan(text)
    assert said in site.run("restore", "tree", "--to", "back").stderr

    site.plan(text.replace("files: {paths: [live/tree]}", "sqlite: {path: live/base.db}"))
    said = "tree was never saved as sqlite: its newest snapshot is of the engine files"
    assert said in str(site.json("status", code=10)["to_do"])

    keep = "path: local, keep: {last: 1}"
    site.plan(text.replace("  tree:", "  trunk:").replace("path: local", keep))
    said = site.run("restore", "trunk", "--to", "again", code=5).stderr
    assert "the plan does not have tree, of which there are snapshots" in said
    said = "snapshots of tree, which this plan does not have, go by its 'keep'"
    assert said in site.run("prune").stderr
