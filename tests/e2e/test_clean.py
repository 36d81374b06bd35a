"""A site that is gone is drilled: with the kit and one repository, and nothing else of the host."""

import os
from typing import Any

import pytest
from recoverable import APP, change, lay_out, left, program, reasons


@pytest.fixture
def papers(bare):
    """A plan whose program is restored with the tree."""
    lay_out(bare)
    program(bare.top / "live/tree/app", APP)
    bare.run("backup", "tree")
    return bare


def gone(site: Any, code: int) -> dict[str, Any]:
    """With the kit alone: no passphrase that opens anything here."""
    site.run("kit", "--to", "papers", "--need", "1", "--of", "1", "--yes")
    site.variables["DRCTL_PASSPHRASE"] = "another"
    found: dict[str, Any] = site.json("drill", "far", "--kit", "papers", code=code)
    assert left(site) == []
    assert found["left_behind"] == []
    assert found["site_gone"] == {"in_view": "offsite", "network": "no network"}
    return found


def test_the_kit_and_one_repository_are_enough(papers) -> None:
    look = 'ls -d keys local live state plan.yaml; "$DRCTL_AT_TREE/app" ask'
    change(papers, "[./app, start]", "[sh, -c, '\"$DRCTL_AT_TREE/app\" start']")
    change(papers, "[./app, ask]", f"[sh, -c, '{look}']")
    change(papers, "undo: [./app, stop], ", "")
    before = set(os.listdir(papers.top))
    found = gone(papers, 0)
    assert found["verdict"] == "passed", found["reasons"]
    assert found["evidence"]["number"] == 1
    assert set(os.listdir(papers.top)) - before == {"papers"}
    assert "verified" in papers.run("gate", "far").stdout
    shown = papers.run("report", "show").stdout
    assert "in view but the kit and offsite; no network" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_what_the_kit_does_not_bring_is_missed_and_named(papers) -> None:
    found = gone(papers, 10)
    assert found["verdict"] == "failed"
    assert "app: exit status 127" in reasons(found)
    assert "./app: not found" in reasons(found)
