"""A plan with a recovery that can be drilled: a database and a tree at two sites, an app on top."""

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drctl.clock import SystemClock
from drctl.engines.base import Standing
from drctl.errors import DrctlError
from drctl.ops.recovery.asking import ask
from drctl.ops.recovery.runner import Control

PLAN = """\
version: 1
name: shop
objectives: {rpo: 1h, rto: 10m, drill_every: 30d}
sites:
  here: {failure_domain: a}
  there: {failure_domain: b}
repositories:
  local: {site: here, path: local}
  offsite: {site: there, path: offsite, copy_of: local}
keys: {credential: file:keys/writer.key}
assets:
  base:
    sqlite: {path: live/base.db, mark: true}
    schedule: hourly
  tree:
    files: {paths: [live/tree]}
    schedule: hourly
recovery:
  defaults: {timeout: 1m}
  steps:
    fence: {run: [./fence], when: [failover]}
    base: {restore: base, after: [fence]}
    tree: {restore: tree, after: [fence]}
    app: {run: [./app, start], undo: [./app, stop], after: [base, tree]}
    well: {check: {command: [./app, ask], expect: {contains: up}}, after: [app]}
checks:
  - {asset: base, sql: "select count(*) from t", expect: {min: 1}}
  - {asset: tree, compare: manifest}
drills:
  far: {deny_sites: [here]}
evidence: {key: "file:keys/evidence.key"}
"""
# Stands on both assets; `ask` answers only where they are what they should be.
APP = """\
#!/bin/sh
set -eu
test -s "$DRCTL_AT_BASE"
test -s "$DRCTL_AT_TREE/a.txt"
echo "$1" >> "$DRCTL_DRILL/app.log"
echo up
"""


def lay_out(site: Any, plan: str = PLAN, app: str = APP) -> None:
    """The plan and its program, initialised and backed up once."""
    site.plan(plan)
    program(site.top / "app", app)
    program(site.top / "fence", "#!/bin/sh\ntouch fenced\n")
    site.run("init")
    site.run("backup")


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def change(site: Any, before: str, after: str) -> None:
    """Change the plan; what is to be changed must be there."""
    text = (site.top / "plan.yaml").read_text()
    assert before in text
    site.plan(text.replace(before, after))


def drill(site: Any, verdict: str = "passed", *words: str) -> dict[str, Any]:
    """The document of a drill that comes out so; nothing of it is left."""
    code = 0 if verdict == "passed" else 10
    found: dict[str, Any] = site.json("drill", "far", *words, code=code)
    assert found["verdict"] == verdict, json.dumps(found["reasons"], indent=1)
    assert left(site) == []
    assert found["left_behind"] == []
    return found


def left(site: Any) -> list[str]:
    """What drills left behind."""
    return [path.name for path in (site.top / "state/drills").glob("drill-*")]


def asked_in_vain(standing: Standing, sql: str) -> str:
    """How a question that takes too long is ended; the next one is answered."""
    clock = SystemClock()
    control = Control(clock, clock.monotonic_seconds() + 0.3, threading.Event(), 0.3)
    view: Any = SimpleNamespace(standing=standing, unended=[])
    with pytest.raises(DrctlError) as ended:
        ask(view, control, lambda found: found.query(sql))
    assert standing.query("select 1") == (("1",),)
    return ended.value.what


def reasons(found: dict[str, Any]) -> str:
    return "\n".join(found["reasons"])


def lose(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
