"""The main job, tried out on data of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import click

from drctl.cli.context import Context, output_options, pass_context
from drctl.errors import ExitCode, IntegrityError, TargetRefused
from drctl.ops.recovery.isolation import isolated
from drctl.ops.rehearsal import Load, count_rows, fingerprint, make_tree, rows_until
from drctl.units import show_bytes
from drctl.wiring import PASSPHRASE, STATE_DIRECTORY

_PLAN = """\
version: 1
name: demo
objectives: {rpo: 15m, rto: 30m}
sites:
  main: {failure_domain: rack-a}
  dr: {failure_domain: city-b}
repositories:
  local: {site: main, path: site-main}
  offsite: {site: dr, path: site-dr, copy_of: local}
keys: {credential: file:keys/writer.key}
assets:
  orders:
    sqlite: {path: live/orders.db, mark: true}
    schedule: every 10m
  uploads:
    files: {paths: [live/uploads]}
    schedule: every 10m
checks:
  - {asset: orders, sql: "select count(*) from orders", expect: {min: 100}}
  - {asset: uploads, compare: manifest}
drills:
  site-gone: {from: offsite, deny_sites: [main]}
evidence: {key: "file:keys/evidence.key"}
"""


@dataclass(frozen=True, slots=True)
class _Stage:
    """The directory that all of it happens in."""

    top: str
    context: Context

    def path(self, *parts: str) -> str:
        return os.path.join(self.top, *parts)

    def say(self, text: str) -> None:
        if not self.context.quiet and not self.context.as_json:
            click.echo(text)

    def drctl(self, *words: str, code: int = 0) -> None:
        """Run the real command, as a person would; its exit code must be `code`."""
        self.say(f"\n$ drctl {' '.join(words)}")
        environment = {
            **os.environ,
            PASSPHRASE: "demo",
            STATE_DIRECTORY: self.path("state"),
            "DRCTL_PLAN": self.path("plan.yaml"),
        }
        hide = subprocess.DEVNULL if self.context.quiet or self.context.as_json else None
        argv = [sys.executable, "-m", "drctl", *words]
        done = subprocess.run(argv, env=environment, cwd=self.top, stdout=hide, check=False)
        if done.returncode != code:
            raise IntegrityError(f"demo: 'drctl {words[0]}' ended with {done.returncode}")


@click.command()
@click.option("--keep", metavar="DIR", help="Work in DIR and leave it there to look at.")
@output_options
@pass_context
def command(context: Context, keep: str | None) -> None:
    """Lose a site and come back: a database under load and a directory tree are backed up to two
    sites; the first is removed; both are restored from the second and compared."""
    if keep and os.path.exists(keep):
        raise TargetRefused(f"{keep} exists", hint="name a directory that does not exist yet")
    top = os.path.abspath(keep) if keep else tempfile.mkdtemp(prefix="drctl-demo-")
    os.makedirs(top, mode=0o700, exist_ok=True)
    try:
        document = _play(_Stage(top, context))
        context.result(document, _text(document))
    finally:
        if not keep:
            shutil.rmtree(top)


def _play(stage: _Stage) -> dict[str, object]:
    live, database = stage.path("live"), stage.path("live", "orders.db")
    with open(stage.path("plan.yaml"), "w", encoding="utf-8") as file:
        file.write(_PLAN)
    os.mkdir(live)
    make_tree(stage.path("live", "uploads"))
    load = Load(database)
    try:
        load.wait_for_rows(100)
        stage.say("a database takes some hundred orders a second; a tree of files lies beside it")
        stage.drctl("init")
        stage.drctl("backup")
        load.wait_for_rows(count_rows(database) + 100)
        before = count_rows(database)
        stage.drctl("backup", "orders")
        stage.drctl("snapshots")
    finally:
        load.end()
    return _lose_and_recover(stage, live, before)


def _lose_and_recover(stage: _Stage, live: str, before: int) -> dict[str, object]:
    """The main site goes: its data, its repository, its state. The DR site has what it has."""
    tree = fingerprint(os.path.join(live, "uploads"))
    lost = stage.path("lost")
    os.rename(live, lost)
    shutil.rmtree(stage.path("site-main"))
    shutil.rmtree(stage.path("state"))
    stage.say("\nthe main site is gone: its data, its repository, its state")
    stage.drctl("verify", "--from", "offsite", "--read-data", "100")
    _drill(stage)
    stage.drctl("restore", "orders", "--from", "offsite", "--to", "back/orders.db")
    stage.drctl("restore", "uploads", "--from", "offsite", "--to", "back/uploads")
    rows = count_rows(stage.path("back", "orders.db"))
    size = os.path.getsize(stage.path("back", "orders.db"))
    if fingerprint(stage.path("back", "uploads")) != tree:
        raise IntegrityError("demo: the restored tree is not the one that was backed up")
    newest = _newest_row(stage.path("back", "orders.db"))
    if rows < before or rows_until(os.path.join(lost, "orders.db"), newest) != rows:
        raise IntegrityError(f"demo: {rows} rows came back, {before} or more were due")
    return {"tree_identical": True, "rows": rows, "rows_due": before, "database_bytes": size}


def _drill(stage: _Stage) -> None:
    """Some containers allow no namespace: a drill cannot prove there that production is out of its
    reach, and so it does not pass."""
    with isolated((), ()) as place:
        why_not = place.why_not
    stage.drctl("drill", "site-gone", code=ExitCode.OBJECTIVE_MISSED if why_not else 0)
    stage.drctl("report", "verify", stage.path("state", "evidence", "demo"))
    if why_not:
        stage.say(f"\nthe drill did not pass, as its isolation is not proven here: {why_not}")
    else:
        stage.drctl("gate")


def _newest_row(database: str) -> int:
    import sqlite3

    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return int(connection.execute("select max(at_ns) from orders").fetchone()[0])


def _text(document: dict[str, object]) -> str:
    size = show_bytes(float(str(document["database_bytes"])))
    return (
        "\nthe tree is back, identical in content, names, times, modes and links\n"
        f"the database is back, whole, {size}: {document['rows']} rows, "
        f"all {document['rows_due']} that were committed before the last backup\n"
        "the demo came out well"
    )
