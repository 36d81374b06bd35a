"""Giving and taking the power to read, with the real command."""

import shutil

import pytest

from drctl.repository.state import exclusive


@pytest.fixture
def backed_up(site):
    site.run("backup")
    return site


def restores(site, identity: str, *words: str, code: int = 0) -> None:
    """Whether an identity restores from both repositories."""
    for repository in ("local", "offsite"):
        back = site.top / f"back-{repository}"
        shutil.rmtree(back, ignore_errors=True)
        site.run(
            *("restore", "tree", "--to", back, "--from", repository, "--identity", identity),
            *words,
            code=code,
        )


def new_identity(site, name: str) -> str:
    site.run("key", "new", f"keys/{name}.key", "--name", name)
    return f"keys/{name}.key"


def test_a_new_recipient_reads_everything_old_and_new_at_every_site(backed_up) -> None:
    file = new_identity(backed_up, "second")
    restores(backed_up, file, code=7)
    said = backed_up.run("key", "test", "--identity", file, code=7).stderr
    (first,) = backed_up.json("key", "list")["recipients"]
    for repository in ("local", "offsite"):
        assert f"{repository}: identity second" in said
    assert f"its recipients are: first ({first['fingerprint']})" in said
    public = backed_up.run("key", "public", file).stdout
    (backed_up.top / "second.pub").write_text(public)
    assert "sealed" not in public
    done = backed_up.json("key", "recipient", "add", "second.pub", "--yes")
    assert [r["name"] for r in done["recipients"]] == ["first", "second"]
    restores(backed_up, file)
    (backed_up.top / "live/tree/new").write_text("new")
    backed_up.run("backup", "tree")
    restores(backed_up, file)
    assert backed_up.json("key", "recipient", "list")["repositories"]["offsite"]["sessions"] == 4


def test_key_test_tries_every_repository_and_tells_each_that_it_does_not_open(backed_up) -> None:
    shutil.rmtree(backed_up.top / "local")
    found = backed_up.json("key", "test", code=5)
    assert found["opens"] == ["offsite"]
    assert "directory is not there" in found["failed"]["local"]
    shutil.rmtree(backed_up.top / "offsite/keys")
    done = backed_up.run("key", "test", code=6)  # the worse of the two
    assert "local: " in done.stderr
    assert "offsite: " in done.stderr
    assert "opens no repository" in done.stdout


def test_a_removed_recipient_reads_nothing_any_more(backed_up) -> None:
    file = new_identity(backed_up, "second")
    backed_up.run("key", "recipient", "add", file, "--yes")
    backed_up.run("key", "recipient", "remove", "second", "--yes")
    restores(backed_up, file, code=7)
    restores(backed_up, "keys/identity.key")
    backed_up.run("verify", "--read-data", "100")


def test_rotation_replaces_an_identity_and_can_be_done_again(backed_up) -> None:
    backed_up.variables["DRCTL_NEW_PASSPHRASE"] = "another horse"
    rotate = ("key", "recipient", "rotate", "first", "--to", "keys/next.key", "--yes")
    done = backed_up.json(*rotate)
    assert [r["name"] for r in done["recipients"]] == ["first-2"]
    restores(backed_up, "keys/identity.key", code=7)
    backed_up.run(*rotate, code=2)  # it is done already, and says what there is
    backed_up.variables["DRCTL_PASSPHRASE"] = "another horse"
    restores(backed_up, "keys/next.key")
    apply = backed_up.json("key", "recipient", "apply", "--identity", "keys/next.key", "--yes")
    assert [found["resealed"] for found in apply["repositories"].values()] == [0, 0]


def test_the_shares_of_a_kit_let_somebody_read_when_every_identity_is_lost(backed_up) -> None:
    backed_up.run("kit", "--to", "kit", "--need", "2", "--of", "3", "--yes")
    file = new_identity(backed_up, "second")
    for lost in ("identity.key", "writer.key"):
        (backed_up.top / "keys" / lost).unlink()
    words = [word for share in (1, 3) for word in ("--kit", f"kit/share-{share}.txt")]
    backed_up.run("key", "recipient", "add", file, "--kit", "kit/kit.json", *words, "--yes")
    restores(backed_up, file)


def test_nobody_is_dropped_while_a_copy_cannot_be_reached(backed_up) -> None:
    backed_up.variables["DRCTL_NEW_PASSPHRASE"] = "another horse"
    (backed_up.top / "offsite").rename(backed_up.top / "away")
    rotate = ("key", "recipient", "rotate", "first", "--to", "keys/next.key", "--yes")
    done = backed_up.json(*rotate, code=11)
    assert list(done["behind"]) == ["offsite"]
    assert [r["name"] for r in done["recipients"]] == ["first", "first-2"]
    (backed_up.top / "away").rename(backed_up.top / "offsite")
    restores(backed_up, "keys/identity.key")
    said = backed_up.run(*rotate).stdout
    assert f"Let keys.identity be file:{backed_up.top}/keys/next.key" in said
    backed_up.variables["DRCTL_PASSPHRASE"] = "another horse"
    restores(backed_up, "keys/next.key")


def test_nothing_is_changed_unless_a_person_says_so(backed_up) -> None:
    before = (backed_up.top / "keys/writer.key").read_bytes()
    file = new_identity(backed_up, "second")
    said = backed_up.run("key", "recipient", "add", file, code=2).stderr
    assert "--yes" in said
    assert (backed_up.top / "keys/writer.key").read_bytes() == before


def test_the_last_one_who_reads_cannot_be_removed(backed_up) -> None:
    backed_up.run("key", "recipient", "remove", "first", "--yes", code=2)


def test_a_lost_credential_comes_back_from_the_repository(backed_up) -> None:
    (backed_up.top / "keys/writer.key").unlink()
    backed_up.run("backup", "tree", code=7)
    backed_up.run("key", "credential", "keys/writer.key", "--from", "offsite")
    backed_up.run("backup", "tree")
    restores(backed_up, "keys/identity.key")


def test_a_copy_that_is_away_hides_no_other(backed_up) -> None:
    (backed_up.top / "offsite").rename(backed_up.top / "away")
    listed = backed_up.json("key", "recipient", "list", code=11)
    assert list(listed["repositories"]) == ["local"]
    assert list(listed["silent"]) == ["offsite"]
    text = backed_up.run("key", "recipient", "list", code=11).stdout
    assert "local: all 3 sessions" in text
    assert "offsite cannot be asked" in text


def test_two_who_change_the_recipients_at_once_take_nothing_from_each_other(site) -> None:
    file = new_identity(site, "bob")
    adds = ("key", "recipient", "add", file, "--yes")
    makes = ("kit", "--to", "kit", "--need", "1", "--of", "1", "--yes")
    both = {words[0]: site.start(*words) for words in (adds, makes)}
    said = {name: process.communicate(timeout=200)[1] for name, process in both.items()}
    codes = {name: process.returncode for name, process in both.items()}
    assert 0 in codes.values()
    assert set(codes.values()) <= {0, 8}, said
    found = site.json("key", "recipient", "list")["recipients"]
    assert [r["name"] for r in found].count("bob") == (codes["key"] == 0)
    assert (site.top / "kit").exists() == (codes["kit"] == 0)
    if codes["kit"] == 0:
        site.run("kit", "test", "--kit", "kit")

    (home,) = (p.parent for p in site.top.glob("state/*/recipients.lock"))
    with exclusive(str(home / "recipients.lock"), "a change"):
        told = site.run("kit", "--to", "late", "--yes", code=8).stderr
        assert "a change of recipients is already running here" in told
    assert not (site.top / "late").exists()
