"""What the times and sizes of files do not show."""

import fcntl
import os
from pathlib import Path

from drctl.engines.unfinished import MARK

PLAN = """\
version: 1
name: test
sites: {{here: {{failure_domain: a}}}}
repositories:
  local: {{site: here, path: local, keep: {{last: 2, grace: 1ms}}}}
keys: {{credential: file:keys/writer.key}}
assets:
  tree: {{files: {{paths: [{path}]{more}}}}}
"""


def restored(site, name: str) -> Path:
    site.run("restore", "tree", "--to", site.top / name)
    return site.top / name


def test_a_file_without_a_size_is_read(site) -> None:
    site.plan(PLAN.format(path="/proc/version", more=""))
    done = site.run("backup")
    assert "stored 0 B" not in done.stdout
    (found,) = [p for p in restored(site, "back").rglob("*") if p.is_file()]
    assert found.read_bytes() == Path("/proc/version").read_bytes()


def test_reread_reads_what_seems_unchanged(site) -> None:
    site.plan(PLAN.format(path="live/tree", more=""))
    for path in (site.top / "live/tree").rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    site.run("backup")
    calm = _until_calm(site)
    assert calm["read_bytes"] == 0
    again = site.json("backup", "--reread")["snapshots"][0]
    assert again["read_bytes"] > 700_000
    assert (again["changed"], again["unchanged"]) == (0, calm["entries"])
    assert again["added_bytes"] == 0


def _until_calm(site):
    """The change of the attributes is fresh for two seconds."""
    while True:
        done = site.json("backup")["snapshots"][0]
        if not done["read_bytes"]:
            return done


def test_an_empty_mount_point_pushes_no_good_snapshot_out(site) -> None:
    site.plan(PLAN.format(path="live/tree", more=""))
    site.run("backup")
    (good,) = [s["id"] for s in site.snapshots()]
    os.rename(site.top / "live/tree", site.top / "live/away")
    (site.top / "live/tree").mkdir()
    for _ in range(3):
        assert "SUSPECT: it holds nothing; " in site.run("backup", code=11).stderr
        site.run("prune")
    assert good in {s["id"] for s in site.snapshots()}
    assert "tree is suspect" in site.run("status", code=11).stdout
    os.rmdir(site.top / "live/tree")
    os.rename(site.top / "live/away", site.top / "live/tree")
    assert "SUSPECT" not in site.run("backup").stdout
    assert "all is well" in site.run("status").stdout


def test_what_an_interrupted_restore_left_is_no_snapshot(site) -> None:
    """Nor what lies below it; deeper in a tree it is a part that is not whole."""
    site.plan(PLAN.format(path="live/tree", more=""))
    site.run("backup")
    good = site.snapshots()
    tree = site.top / "live/tree"
    mark = tree / MARK.decode()
    mark.touch()
    for path in ("live/tree", "live/tree/sub"):
        site.plan(PLAN.format(path=path, more=""))
        said = site.run("backup", code=4).stderr
        assert "live/tree holds what a restore left that was interrupted: nothing was saved" in said
        assert f"rm {mark}" in said
    with mark.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "live/tree is running: nothing was saved" in site.run("backup", code=8).stderr
    assert site.snapshots() == good
    mark.rename(tree / "sub" / mark.name)
    site.plan(PLAN.format(path="live/tree", more=""))
    assert "sub: a restore to it was interrupted" in site.run("backup", code=11).stderr
    listed = site.run("ls", "tree").stdout
    assert "sub/b.txt" in listed
    assert mark.name not in listed


def test_an_exclude_that_hides_all_is_suspect_until_it_is_accepted(site) -> None:
    site.plan(PLAN.format(path="live/tree", more=', exclude: ["*"]'))
    assert "an exclude hides all" in site.run("backup", code=11).stderr
    assert "SUSPECT" not in site.run("backup", "--accept").stdout
    assert "SUSPECT" not in site.run("backup").stdout
