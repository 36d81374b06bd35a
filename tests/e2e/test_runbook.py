"""The runbook says what the plan says, in commands that exist; and a person gets by with it."""

import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from html import unescape
from pathlib import Path

import click
import pytest
from recoverable import PLAN, lay_out, lose

from drctl.cli.context import Context
from drctl.cli.main import cli
from drctl.plan import load

PLANS = Path(__file__).parents[2] / "plans"
NAMES = sorted(path.stem for path in PLANS.glob("*.yaml"))
FULL = (
    PLAN.replace(
        "    base: {restore: base, after: [fence]}\n",
        "    ask: {approval: head of operations, when: [failover], after: [fence]}\n"
        "    calm: {wait: 5s, after: [ask]}\n"
        "    base: {restore: base, after: [calm], existing: set_aside}\n"
        "    word: {notify: 'back in ${town} <soon>', after: [base]}\n",
    )
    .replace("  defaults: {", "  parameters: {town: berlin}\n  defaults: {retries: 2, ")
    .replace("name: shop\n", "name: shop\nowner: 'Ada <ada@example.com>'\n")
)
BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def lines_of(page: str) -> list[str]:
    """Everything that is to be typed, of a page in either form."""
    if page.startswith("<!doctype"):
        found = [unescape(text) for text in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]
    else:
        found = BLOCK.findall(page)
    return [line.strip() for text in found for line in text.splitlines()]


def must_parse(line: str) -> None:
    """drctl's own command line takes it. Nothing is carried out."""
    words = shlex.split(line)[1:]
    words = words[: words.index(">")] if ">" in words else words
    group: click.Command = cli
    context = click.Context(cli, info_name="drctl", obj=Context())
    while isinstance(group, click.Group):
        found = group.get_command(context, words[0])
        assert found, line
        group, words = found, words[1:]
        context = click.Context(group, parent=context, info_name=group.name)
    group.parse_args(context, words)


@pytest.mark.parametrize(
    ("name", "form"), [*((name, "markdown") for name in [*NAMES, "full"]), ("full", "html")]
)
def test_every_command_is_one_of_the_real_command_line(bare, name, form) -> None:
    bare.plan(FULL if name == "full" else (PLANS / f"{name}.yaml").read_text("utf-8"))
    page = bare.run("runbook", "--format", form).stdout
    commands = [line for line in lines_of(page) if line.startswith("drctl ")]
    commands += re.findall(r"(?:`|<code>)(drctl [^`<]+)", page)
    assert len(commands) > 10
    for line in commands:
        must_parse(line)


def test_a_line_with_an_option_that_is_none_is_found(bare) -> None:
    with pytest.raises(click.UsageError):
        must_parse("drctl restore base --form local --to there")


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_every_step_is_in_it_with_what_the_plan_says(bare, form) -> None:
    bare.plan(FULL)
    page = bare.run("runbook", "--format", form).stdout
    plan, lines = load(str(bare.top / "plan.yaml")).plan, lines_of(page)
    failover = unescape(page[page.index("Recovery by hand: failover") :])
    for name, step in plan.recovery.steps.items():
        assert name in failover
        for words in (step.run, step.undo, step.check and step.check.command):
            assert not words or shlex.join(words) in lines
        if step.restore:
            for source in plan.repositories:
                place = {"base": "live/base.db", "tree": "live/tree"}[step.restore]
                line = f"drctl restore {step.restore} --from {source} --to {bare.top}/{place}"
                assert line in lines
    for text in ("head of operations", "select count(*) from t", "at least 1", "sleep 5"):
        assert text in failover
    assert "back in berlin" in failover
    assert "<soon>" not in page  # neither form takes a text for its own
    told = bare.json("runbook")
    order = [step["step"] for step in told["recoveries"][0]["steps"]]
    for step in told["recoveries"][0]["steps"]:
        assert all(order.index(name) < step["number"] - 1 for name in step["after"])


def test_the_plans_secrets_stay_where_they_are(bare) -> None:
    told = "env:SHOP_S3_KEY, secret_key: 'command:vault read token=hush'"
    s3 = f"s3: {{bucket: shop-dr, credentials: {{access_key: {told}}}}}"
    bare.plan(PLAN.replace("path: offsite,", f"{s3},"))
    bare.variables["SHOP_S3_KEY"] = "quiet-please"
    page = bare.run("runbook").stdout
    assert "variable SHOP\\_S3\\_KEY, told by vault" in page
    assert "hush" not in page
    assert "quiet-please" not in page


def test_where_the_plan_tells_no_place_the_whole_recovery_is_given_one(bare) -> None:
    bare.plan((PLANS / "postgres.yaml").read_text("utf-8"))
    told = bare.json("runbook")
    there = f"--to {bare.top}/recovered"
    assert told["recoveries"][0]["command"] == f"drctl recover --mode failover {there}"
    begun = [w for loss in told["losses"] for w in loss["commands"] if "drctl recover" in w]
    assert begun
    assert all(line.endswith(there) for line in begun)


def typed(site, lost: str, but: tuple[str, ...]) -> None:
    """Carry out what the runbook says of a loss, but for commands that begin so."""
    losses = site.json("runbook")["losses"]
    for line in next(loss for loss in losses if loss["lost"] == lost)["commands"]:
        if not line.startswith(but):
            site.run(*shlex.split(line)[1:])


def test_a_lost_repository_is_made_again_and_a_damaged_one_mended_by_the_runbook(bare) -> None:
    lay_out(bare)
    before = bare.json("snapshots")
    lose(bare.top / "local")
    typed(bare, "Site here (a)", but=("drctl recover",))  # its data are still there
    after = {s["id"] for s in bare.json("snapshots")}
    assert {s["id"] for s in before} < after
    pack = next(p for p in (bare.top / "local/packs").rglob("*") if p.is_file())
    pack.write_bytes(pack.read_bytes()[:-1])
    bare.run("verify", "--read-data", "100", code=6)
    typed(bare, "A repository is damaged", but=("drctl verify --from local --read",))
    bare.run("verify", "--read-data", "100")


def test_a_file_is_written_whole_in_the_place_of_the_old_one(bare) -> None:
    bare.plan(PLAN)
    (bare.top / "book.html").write_text("old" * 100_000)
    bare.run("runbook", "--format", "html", "--to", "book.html")
    page = (bare.top / "book.html").read_text()
    assert page.endswith("</html>\n")
    assert "http" not in page  # nothing outside of it is needed


def test_a_site_is_brought_back_by_the_runbook_alone(bare) -> None:
    """Its lines are typed into a shell, with nothing else: the first site is lost."""
    lay_out(bare)
    recovery = bare.json("runbook")["recoveries"][0]
    assert recovery["modes"] == ["failover"]
    lose(bare.top / "live")
    lose(bare.top / "local")
    typed = [*recovery["before"]]
    for step in recovery["steps"]:
        blocks = [b for b in step["blocks"] if not b["says"].startswith("From local")]
        typed += [line for block in blocks for line in block["lines"]]
        typed += [line for check in step["checks"] for line in check["lines"]]
    script = "\n".join(["set -e", *typed]).replace("--from local", "--from offsite")
    tools = bare.top / "tools"
    tools.mkdir()
    (tools / "drctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m drctl "$@"\n')
    (tools / "drctl").chmod(0o755)
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "DRCTL_DRILL": str(bare.top)}
    done = subprocess.run(
        ["sh", "-c", script],
        env={**bare.environment(), **variables},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    assert (bare.top / "fenced").exists()
    assert (bare.top / "app.log").read_text().split() == ["start", "ask"]
    assert (bare.top / "live/tree/a.txt").read_text() == "alpha\n"
    with closing(sqlite3.connect(bare.top / "live/base.db")) as database:
        assert database.execute("select count(*) from t").fetchone() == (1000,)


# -- a drill's page -------------------------------------------------------------------------------


def test_a_drills_page_tells_what_the_evidence_says(bare) -> None:
    lay_out(bare)
    found = bare.json("drill", "far")
    bare.run("report", "show", "--html", "drill.html")
    page = unescape((bare.top / "drill.html").read_text())
    assert found["evidence"]["sha256"] in page
    assert "verified with the plan's key" in page
    assert "Checks were also carried out on an empty" in page
    for step in found["steps"]:
        assert step["step"] in page
    for check in found["checks"]:
        assert check["check"] in page
    for number in ("rta_seconds", "machine_seconds", "restore_seconds"):
        assert found["timing"][number] is not None
    assert page.count('class="critical"') == len(found["timing"]["critical_path"])
    (bare.top / "keys/evidence.key.pub").unlink()
    (bare.top / "keys/evidence.key").unlink()
    bare.run("init")  # makes another key
    bare.run("report", "show", "--html", "drill.html")
    assert "NOT signed by the plan's key" in unescape((bare.top / "drill.html").read_text())
