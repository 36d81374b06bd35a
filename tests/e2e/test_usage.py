"""Slips of the hand: a word that is empty, a passphrase that is wrong, no such command."""

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from recoverable import lay_out
from servers import ACCESS_KEY, SECRET_KEY

from drctl.engines import KINDS


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "tree", "--to", "back", "--path", ""),
        ("restore", "tree", "--to", ""),
        ("restore", "tree", "--to", "back", "--from", ""),
        ("ls", "tree", ""),
        ("backup", ""),
        ("kit", "--to", "", "--yes"),
    ],
)
def test_an_empty_word_is_a_mistake_and_never_means_everything(bare, words) -> None:
    assert "is a variable of the shell not set?" in bare.run(*words, code=2).stderr
    assert sorted(p.name for p in bare.top.iterdir()) == ["home", "live", "plan.yaml"]


def test_a_place_that_cannot_be_written_to_is_no_bug(site) -> None:
    said = site.run("kit", "--to", "plan.yaml/kit", "--yes", code=7).stderr
    assert "plan.yaml/kit/kit.json: cannot be written" in said
    assert "kit" not in site.run("key", "list").stdout
    said = site.run("--plan", "plan.yaml/p.yaml", "init", "--yes", code=3).stderr
    assert "plan.yaml/data: cannot be made" in said
    (site.top / "keys/identity.key").write_bytes(b"\xff")
    assert "identity.key" in site.run("key", "list", code=7).stderr


@pytest.mark.parametrize(
    "words",
    [("frob", "--json"), ("--json", "frob"), ("restore", "--json"), ("ls", "--no", "--json")],
)
def test_a_mistake_in_usage_is_one_document_too(bare, words) -> None:
    error = json.loads(bare.run(*words, code=2).stdout)["error"]
    assert error["exit_code"] == 2
    assert (
        error["hint"]
        == f"see 'drctl{' ' + words[0] if words[0] in ('ls', 'restore') else ''} --help'"
    )


def test_the_help_of_the_command_is_named(bare) -> None:
    assert "see 'drctl restore --help'" in bare.run("restore", code=2).stderr
    alone = [sys.executable, "-m", "drctl"]
    done = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: drctl ")
    assert "Bring back" in done.stderr


@pytest.mark.parametrize("group", ["key", "key recipient", "kit", "report", "storage", "wal"])
def test_no_line_of_a_help_is_cut_short(bare, group) -> None:
    bare.variables["COLUMNS"] = "80"
    _, _, listed = bare.run(*group.split(), "--help").stdout.partition("\nCommands:\n")
    assert listed
    assert "..." not in listed


def test_the_key_of_evidence_is_one_document(bare) -> None:
    plan = (bare.top / "plan.yaml").read_text()
    bare.plan(f"{plan}evidence: {{key: file:keys/evidence.key}}\n")
    bare.run("init")
    found = bare.json("report", "key")
    assert found["pem"] == bare.run("report", "key").stdout
    assert found["pem"] == (bare.top / "keys/evidence.key.pub").read_text()


def test_an_identity_that_all_may_read_is_told(site) -> None:
    site.run("backup", "tree")
    (site.top / "keys/identity.key").chmod(0o644)
    told = site.run("ls", "tree").stderr
    assert f"chmod 600 {site.top}/keys/identity.key" in told


def test_a_very_short_passphrase_is_told(bare) -> None:
    bare.variables["DRCTL_PASSPHRASE"] = "horse"
    assert "very short" in bare.run("init").stderr
    bare.variables["DRCTL_NEW_PASSPHRASE"] = "four words of mine"
    assert "very short" not in bare.run("key", "passphrase").stderr


def typed_at_a_terminal(site, words: Sequence[str], lines: Sequence[str]) -> tuple[int, str]:
    """Each line is typed when it is asked for: what came before that, a prompt throws away."""
    site.variables["DRCTL_PASSPHRASE"] = ""
    ours, theirs = pty.openpty()
    asking = subprocess.Popen(
        site.argv(*words),
        cwd=site.top,
        env=site.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # else it would ask at the terminal of whoever runs the tests
    )
    os.close(theirs)
    said, left = b"", [*lines]
    try:
        while piece := os.read(ours, 4096):
            said += piece
            is_asked = said.count(b"Passphrase of ") > len(lines) - len(left)
            if left and is_asked and said.endswith(b": "):
                os.write(ours, left.pop(0).encode() + b"\n")
    except OSError:
        pass  # how a terminal says that the other side is gone
    os.close(ours)
    return asking.wait(), said.decode()


@pytest.mark.parametrize(("typed", "code"), [("correct horse", 0), ("wrong, too", 7)])
def test_a_wrong_passphrase_may_be_typed_again_twice(site, typed, code) -> None:
    site.run("backup", "tree")
    found, said = typed_at_a_terminal(site, ("ls", "tree"), ("wrong", "wrong again", typed))
    assert found == code, said
    assert said.count("type it again") == 2
    assert ("a.txt" in said) == (code == 0)


def test_a_passphrase_that_a_person_mistypes_says_nothing_of_the_drill(bare) -> None:
    lay_out(bare)
    (bare.top / "node").mkdir()
    bare.plan((bare.top / "plan.yaml").read_text() + "metrics: {textfile: node/drctl.prom}\n")
    found, said = typed_at_a_terminal(bare, ("drill", "far"), ("wrong", "wrong", "wrong"))
    assert found == 7, said
    numbers = bare.top / "node/drctl.prom"
    assert (
        'drctl_run_exit_code{plan="shop",command="drill",subject="far"} 7.0' in numbers.read_text()
    )
    assert "drctl_drill_passed{" not in numbers.read_text()
    bare.variables["DRCTL_PASSPHRASE"] = "wrong"  # as cron has it: nobody's slip
    bare.run("drill", "far", code=7)
    assert 'drctl_drill_passed{plan="shop",drill="far"' in numbers.read_text()


def test_the_past_of_a_bucket_without_versions_is_refused(bare, s3_server) -> None:
    bucket = s3_server.new_bucket()
    place = f'{{bucket: {bucket}, endpoint: "{s3_server.endpoint}"}}'
    bare.plan((bare.top / "plan.yaml").read_text().replace("path: offsite,", f"s3: {place},"))
    bare.variables |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    bare.run("init")
    bare.run("backup", "tree")
    time.sleep(1.2)  # the storage tells seconds
    now = datetime.now(UTC).isoformat()
    told = bare.run("snapshots", "--from", "offsite", "--as-of", now, code=5).stderr
    assert "keeps no versions" in told


def test_a_day_without_snapshots_is_told_as_it_was_understood(site) -> None:
    site.run("backup", "base")
    told = site.run("ls", "base", "--at", "2001-02-03", code=2).stderr
    assert "no snapshot of base is as old as 2001-02-03 00:00:00" in told
    assert "a day alone means its beginning" in told


def test_one_of_a_thing_is_told_as_one(site) -> None:
    site.run("backup", "base")
    assert ", 1 snapshot, 1 entry; " in site.run("verify").stdout


def test_the_starter_plan_knows_every_engine(bare) -> None:
    (bare.top / "plan.yaml").unlink()
    bare.run("init", "--yes")
    assert ", ".join(KINDS) in (bare.top / "plan.yaml").read_text()


def test_who_stands_in_a_directory_that_is_gone_is_told_so(site) -> None:
    site.run("backup", "tree")
    for words in (["restore", "tree", "--to", "x"], ["kit", "--to", "k", "--yes"], ["init"],
                  ["runbook", "--to", "r.md"]):  # fmt: skip
        (site.top / "gone").mkdir()
        nowhere = ["sh", "-c", 'cd gone && rmdir ../gone && exec "$@"', "sh"]
        plan = [] if words == ["init"] else ["--plan", str(site.top / "plan.yaml")]
        told = subprocess.run(
            [*nowhere, sys.executable, "-P", "-m", "drctl", *plan, *words],
            cwd=site.top,
            env=site.environment() | {"PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert told.returncode == 2, told.stderr
        assert "the directory that drctl was started in is gone" in told.stderr
        assert "Traceback" not in told.stderr
