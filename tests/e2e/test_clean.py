"""A site that is gone is drilled: with the kit and one repository, and nothing else of the host."""

import os
from typing import Any

from recoverable import APP, change, lay_out, left, program, reasons


def gone(site: Any, code: int, number: int) -> dict[str, Any]:
    """With the kit alone: no passphrase that opens anything here."""
    made = ("--name", f"kit-{number}", "--need", "1", "--of", "1", "--yes")
    site.run("kit", "--to", f"papers-{number}", *made)
    site.variables["DRCTL_PASSPHRASE"] = "another"
    found: dict[str, Any] = site.json("drill", "far", "--kit", f"papers-{number}", code=code)
    del site.variables["DRCTL_PASSPHRASE"]
    assert left(site) == []
    assert found["left_behind"] == []
    assert found["site_gone"] == {"in_view": "offsite", "network": "no network"}
    return found


def test_the_kit_and_one_repository_are_enough_and_what_they_lack_is_named(bare) -> None:
    lay_out(bare)
    program(bare.top / "live/tree/app", APP)
    bare.run("backup", "tree")
    before = set(os.listdir(bare.top))
    found = gone(bare, 10, 1)
    assert found["verdict"] == "failed"
    assert "app: exit status 127" in reasons(found)
    assert "./app: not found" in reasons(found)

    look = 'test ! -e keys -a ! -e local -a ! -e live -a ! -e plan.yaml && "$DRCTL_AT_TREE/app" ask'
    change(bare, "[./app, start]", "[sh, -c, '\"$DRCTL_AT_TREE/app\" start']")
    change(bare, "[./app, ask]", f"[sh, -c, '{look}']")
    change(bare, "undo: [./app, stop], ", "")
    found = gone(bare, 0, 2)
    assert found["verdict"] == "passed", found["reasons"]
    assert found["evidence"]["number"] == 2
    assert set(os.listdir(bare.top)) - before == {"papers-1", "papers-2"}
    assert "verified" in bare.run("gate", "far").stdout
    shown = bare.run("report", "show").stdout
    assert "in view but the kit and offsite; no network" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
