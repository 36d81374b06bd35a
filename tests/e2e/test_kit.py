"""The recovery kit: with it and the bucket, and nothing else, everything comes back."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import ACCESS_KEY, SECRET_KEY

PLAN = """\
version: 1
name: test
sites:
  here: {{failure_domain: a}}
  there: {{failure_domain: b}}
repositories:
  local: {{site: here, path: local}}
  offsite:
    site: there
    copy_of: local
    s3: {{bucket: {bucket}, prefix: dr, endpoint: "{endpoint}",
         credentials: {{access_key: "env:DR_ACCESS", secret_key: "file:keys/dr.secret"}}}}
assets:
  tree:
    files: {{paths: [live/tree]}}
  base:
    sqlite: {{path: live/base.db}}
"""


@pytest.fixture
def site(bare, s3_server):
    """The plan's copy is a bucket, whose secrets are where a new machine does not have them."""
    bare.plan(PLAN.format(bucket=s3_server.new_bucket(), endpoint=s3_server.endpoint))
    (bare.top / "keys").mkdir(mode=0o700)
    (bare.top / "keys/dr.secret").write_text(SECRET_KEY)
    (bare.top / "keys/dr.secret").chmod(0o600)
    bare.variables["DR_ACCESS"] = ACCESS_KEY
    bare.run("init")
    return bare


class Elsewhere:
    """A machine that has never seen the plan: a clean directory, an empty environment."""

    def __init__(self, top: Path) -> None:
        top.mkdir()
        self.top = top
        self.live = top.with_name(f"{top.name}-live")

    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.top), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def run(self, *words: str | Path, code: int = 0, typed: str = "", **more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "drctl", *map(str, words)],
            cwd=self.top,
            env=self.environment() | more,
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr


def make_kit(site, *words: str) -> Path:
    site.run("kit", "--to", site.top / "kit", "--need", "2", "--of", "3", "--yes", *words)
    return site.top / "kit"


def lose_the_primary(site, kit: Path) -> tuple[Elsewhere, Path]:
    """All that is left: another machine, the kit's document and two of its pages."""
    elsewhere = Elsewhere(site.top.with_name(f"{site.top.name}-elsewhere"))
    left = elsewhere.top / "papers"
    left.mkdir()
    for name in ("kit.json", "share-1.html", "share-3.txt"):
        shutil.copy(kit / name, left)
    shutil.move(site.top / "live", elsewhere.live)  # to compare with
    shutil.rmtree(site.top)
    return elsewhere, left


def words_of(page: Path) -> str:
    """As a person would type them."""
    from drctl.codec import kit

    return " ".join(word[:4] for word in kit.share(page.read_text()).split())


def test_from_a_kit_and_a_bucket_alone_everything_restores(site, differences) -> None:
    site.run("backup")
    kit = make_kit(site)
    assert SECRET_KEY not in "".join(p.read_text() for p in kit.iterdir())
    (site.top / "live/tree/later").write_text("after the kit was made\n")
    site.run("backup")
    elsewhere, left = lose_the_primary(site, kit)
    given = [w for n in ("kit.json", "share-1.html", "share-3.txt") for w in ("--kit", left / n)]
    assert len(json.loads(elsewhere.run("snapshots", *given, "--json"))) == 4
    elsewhere.run("restore", "tree", "--to", "back", *given)
    assert differences(elsewhere.live / "tree", elsewhere.top / "back") == ""
    elsewhere.run("restore", "base", "--to", "base.db", *given)
    before, after = (
        subprocess.run(["sqlite3", path, ".dump"], capture_output=True, check=True).stdout
        for path in (elsewhere.live / "base.db", elsewhere.top / "base.db")
    )
    assert before == after
    assert "depth: content" in elsewhere.run("verify", "--read-data", "100", *given)
    assert "later" in elsewhere.run("ls", "tree", *given)
    assert not (site.top).exists()


def test_words_on_paper_are_enough_when_the_document_is_lost(site, differences) -> None:
    """The plan on the page of instructions is typed, the words come through standard input."""
    site.run("backup")
    kit = make_kit(site, "--without-credentials")
    page = (kit / "instructions.txt").read_text()
    start, end = page.index("  version: 1"), page.index("THE PLAN")
    paper = "\n".join(line[2:] for line in page[start:end].splitlines())
    typed = f"{words_of(kit / 'share-2.txt')}\n{words_of(kit / 'share-3.html')}\n"
    elsewhere, _ = lose_the_primary(site, kit)
    (elsewhere.top / "paper.yaml").write_text(paper)
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    words = ("--plan", "paper.yaml", "restore", "tree", "--to", "back", "--kit", "-")
    elsewhere.run(*words, typed=typed, **keys)
    assert differences(elsewhere.live / "tree", elsewhere.top / "back") == ""


def test_what_is_missing_is_said(site) -> None:
    """Shares, and the storage's secrets, which may come as the SDK wants them."""
    kit = make_kit(site, "--without-credentials")
    elsewhere, left = lose_the_primary(site, kit)
    said = elsewhere.run("snapshots", "--kit", left / "kit.json", code=7)
    assert "no share" in said
    one = ("--kit", left / "kit.json", "--kit", left / "share-1.html")
    assert "only share 1" in elsewhere.run("snapshots", *one, code=7)
    two = (*one, "--kit", left / "share-3.txt")
    assert "DR_ACCESS" in elsewhere.run("snapshots", *two, code=7)
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    assert "no snapshots" in elsewhere.run("snapshots", *two, **keys)


def test_a_kit_reads_a_repository_wherever_it_is_mounted_and_a_plan_that_is_named(site) -> None:
    site.run("backup", "tree")
    kit = make_kit(site, "--without-credentials")
    shutil.move(site.top / "local", site.top / "mounted")
    for words in (("--kit", kit), ("--plan", "none.yaml", "--kit", kit)):
        away = site.top / "away"
        shutil.rmtree(away, ignore_errors=True)
        elsewhere = Elsewhere(away)
        code = 3 if "--plan" in words else 0
        told = elsewhere.run(
            *words[:-2], "snapshots", *words[-2:], "--from", site.top / "mounted", code=code
        )
        assert ("none.yaml" if code else "tree") in told


def test_kit_test_proves_the_real_repositories(site) -> None:
    site.run("backup")
    kit = make_kit(site)
    found = site.json("kit", "test", "--kit", kit)
    assert found["proven"]
    assert found["shares"] == [1, 2, 3]
    assert sorted(found["repositories"]["offsite"]["read"]) == ["base", "tree"]
    files = (kit / "kit.json", *sorted(kit.glob("share-*.txt"))[:2])
    assert site.json("kit", "test", "--kit", *files)["shares"] == [1, 2]


def test_kit_test_finds_what_is_not_sealed_to_the_kit(site) -> None:
    """Another host that was not given the new credential."""
    shutil.copy(site.top / "keys/writer.key", site.top / "old.key")
    kit = make_kit(site)
    (site.top / "old.key").replace(site.top / "keys/writer.key")
    said = site.run("backup").stderr
    assert "writer credential" in said
    found = site.json("kit", "test", "--kit", kit, code=7)
    assert not found["proven"]
    assert found["repositories"]["offsite"]["closed"] > 0


def test_a_kit_is_revoked_like_any_other_reader(site) -> None:
    site.run("backup", "tree")
    kit = make_kit(site, "--name", "old-kit")
    site.run("key", "recipient", "remove", "old-kit", "--yes")
    site.run("kit", "test", "--kit", kit, code=7)
    site.run("restore", "tree", "--to", site.top / "back", "--kit", kit, code=7)


def test_a_kit_is_never_written_over_another(site) -> None:
    make_kit(site)
    site.run("kit", "--to", site.top / "kit", "--yes", code=9)
    site.run("kit", "--to", site.top / "other", "--need", "4", "--of", "3", "--yes", code=2)
    assert all(p.stat().st_mode & 0o077 == 0 for p in (site.top / "kit").iterdir())


def test_a_second_kit_of_a_day_has_a_name_of_its_own(site) -> None:
    make_kit(site)
    told = site.run("kit", "--to", site.top / "the second", "--yes").stdout
    destroy = told.partition("Destroy the shares here: ")[2].splitlines()[0]
    subprocess.run(["sh", "-c", destroy.replace("shred -u", "rm")], check=True)
    assert not list((site.top / "the second").glob("share-*"))
    first, second = (r["name"] for r in site.json("key", "list")["recipients"][1:])
    assert second == f"{first}-2" or not second.startswith(first)  # midnight may pass
    said = site.run("kit", "--to", site.top / "third", "--name", second, "--yes", code=2).stderr
    assert "--name" in said
    assert "key new" not in said
    assert not (site.top / "third").exists()


def test_words_are_asked_for_at_a_terminal_and_a_slip_is_told_at_once(site) -> None:
    site.run("backup", "tree")
    kit = make_kit(site)
    one, two = words_of(kit / "share-1.txt"), words_of(kit / "share-2.txt")
    elsewhere, left = lose_the_primary(site, kit)
    slip = one.split()
    slip[3] = "zero" if slip[3] != "zero" else "yoga"
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-m", "drctl", "snapshots", "--kit", str(left / "kit.json")],
        cwd=elsewhere.top,
        env=elsewhere.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    for line in (" ".join(slip), one, two):
        os.write(ours, line.encode() + b"\n")
    said = read_all(ours)
    assert asking.wait() == 0, said
    assert "type it again" in said
    assert "(1 to go)" in said
    assert "tree" in said


def read_all(terminal: int) -> str:
    said = b""
    try:
        while piece := os.read(terminal, 4096):
            said += piece
    except OSError:
        pass  # how a terminal says that the other side is gone
    return said.decode()
