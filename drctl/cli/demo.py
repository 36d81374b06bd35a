"""The main job, tried out on data of its own."""

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Struct

from drctl.cli.context import Context, output_options, pass_context
from drctl.descriptors import too_few
from drctl.engines.bound import begin
from drctl.errors import ExitCode, IntegrityError, TargetRefused
from drctl.homes import STATE_DIRECTORY
from drctl.ops.recovery.isolation import isolated
from drctl.ops.rehearsal import Load, count_rows, fingerprint, make_tree, rows_until
from drctl.ops.rehearsal_servers import Postgres, Redis, postgres_programs, redis_program
from drctl.private import PASSPHRASE, passing_directory
from drctl.units import show_bytes, show_seconds

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
drills:
  site-gone: {from: offsite, deny_sites: [main]}
evidence: {key: "file:keys/evidence.key"}
"""
# Each asset with its check. {sockets}: where servers listen.
_ASSETS = {
    "orders": (
        "sqlite: {{path: live/orders.db, mark: true}}",
        'sql: "select count(*) from orders", expect: {{min: 100}}',
    ),
    "uploads": ("files: {{paths: [live/uploads]}}", "compare: manifest"),
    "sales": (
        "postgres: {{host: {sockets}/pg, database_role: drctl, stream: true, mark: true}}",
        'sql: "select count(*) from sales", expect: {{min: 100}}',
    ),
    "carts": (
        "redis: {{host: {sockets}/redis, mark: true}}",
        'sql: "hget cart:7 total", expect: "12"',
    ),
}


def _plan(assets: Sequence[str], sockets: str) -> str:
    text = f"{_PLAN}assets:\n"
    for name in assets:
        text += f"  {name}:\n    {_ASSETS[name][0].format(sockets=sockets)}\n"
        text += "    schedule: every 10m\n"
    text += "checks:\n"
    for name in assets:
        text += f"  - {{asset: {name}, {_ASSETS[name][1].format()}}}\n"
    return text


_STREAM_SECONDS = 5.0  # for the log to come to the other site


class _Stage(Struct, frozen=True):
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
        self.say(f"\n$ drctl {shlex.join(words)}")
        with self.begin(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout  # noqa: S101 - it was asked for
            for line in process.stdout:
                self._show(line.decode(errors="replace").rstrip("\n").replace(f"{self.top}/", ""))
        if process.returncode != code:
            raise IntegrityError(f"demo: 'drctl {words[0]}' ended with {process.returncode}")

    def _show(self, line: str) -> None:
        """Within 80 columns."""
        for part in textwrap.wrap(line, 80, subsequent_indent="  ") if len(line) > 80 else [line]:
            self.say(part)

    def ask(self, *words: str) -> Any:
        """What the command tells programs, unseen."""
        argv = self.argv("--json", *words)
        done = subprocess.run(
            argv, **self.rest(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        return json.loads(done.stdout)

    def begin(self, *words: str, **rest: Any) -> "subprocess.Popen[bytes]":
        """It does not outlive the demo; it is asked to end, as a person's Ctrl-C does."""
        return begin(self.argv(*words), signal.SIGTERM, **self.rest(), **rest)

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "drctl", *words]

    def rest(self) -> dict[str, Any]:
        own = {
            PASSPHRASE: "demo",
            STATE_DIRECTORY: self.path("state"),
            "DRCTL_PLAN": self.path("plan.yaml"),
        }
        return {"env": {**os.environ, **own}, "cwd": self.top}


class _Production:
    """What will be lost: a database under load, a tree, and servers where they are installed."""

    def __init__(self, stage: _Stage, sockets: str) -> None:
        self._stage = stage
        self._stream: subprocess.Popen[bytes] | None = None
        self.sales: Postgres | None = None
        self.carts: Redis | None = None
        live = stage.path("live")
        os.mkdir(live)
        make_tree(os.path.join(live, "uploads"))
        self.database = os.path.join(live, "orders.db")
        self.load = Load(self.database)
        try:
            self._start_servers(live, sockets)
        except BaseException:
            self.end()
            raise

    def _start_servers(self, live: str, sockets: str) -> None:
        programs, redis = postgres_programs(), redis_program()
        if programs:
            log = self._stage.path("committed.log")
            self.sales = Postgres(programs, f"{live}/pg", f"{sockets}/pg", log)
        if redis:
            self.carts = Redis(redis, f"{live}/redis", f"{sockets}/redis")

    @property
    def assets(self) -> list[str]:
        there = {"sales": self.sales, "carts": self.carts}
        return [name for name in _ASSETS if there.get(name, self.load)]

    def stream(self) -> None:
        """As a service would, beside everything else."""
        self._stage.say("\n$ drctl stream --copy-every 1s &")
        self._stream = self._stage.begin("--quiet", "stream", "--copy-every", "1s")

    def end(self) -> None:
        """kill -9: what was committed must still be there."""
        if self._stream:
            self._stream.kill()
            self._stream.wait()
        self.load.end()
        if self.sales:
            self.sales.end()
        if self.carts:
            self.carts.end()


@click.command()
@click.option("--keep", metavar="DIR", help="Work in DIR and leave it there to look at.")
@output_options
@pass_context
def command(context: Context, keep: str | None) -> None:
    """Lose a site and come back: databases under load and a directory tree are backed up to two
    sites; the first is killed and removed; the recovery is drilled from the second, timed and
    proven, and what came back is compared. With PostgreSQL, whose log is streamed, and Redis, where
    they are installed."""
    if keep and os.path.exists(keep):
        raise TargetRefused(f"{keep} exists", hint="name a directory that does not exist yet")
    if told := too_few():
        context.warn(told)
    with _made(os.path.abspath(keep)) if keep else passing_directory() as top:
        document = _play(_Stage(top, context))
        context.result(document, _text(document))


@contextmanager
def _made(path: str) -> Iterator[str]:
    """A directory that stays."""
    os.makedirs(path, mode=0o700)
    yield path


def _play(stage: _Stage) -> dict[str, object]:
    with passing_directory() as sockets:
        for path in (stage.top, sockets):
            os.chmod(path, os.stat(path).st_mode | stat.S_IXOTH)  # a server's own user passes
        production = _Production(stage, sockets)
        try:
            before = _protect(stage, production, sockets)
        finally:
            production.end()
    committed = production.sales.committed() if production.sales else []
    return _lose_and_recover(stage, before, committed)


def _protect(stage: _Stage, production: _Production, sockets: str) -> int:
    """Until the moment of the loss. Gives how many rows were there before the last backup."""
    with open(stage.path("plan.yaml"), "w", encoding="utf-8") as file:
        file.write(_plan(production.assets, sockets))
    servers = [name for name in ("PostgreSQL", "Redis") if _is_there(production, name)]
    load, database = production.load, production.database
    load.wait_for_rows(100)
    beside = " and ".join(servers) or "no server: neither PostgreSQL nor Redis is installed"
    stage.say("a shop: SQLite takes some hundred orders a second; a tree of files;")
    stage.say(f"{beside}")
    stage.drctl("init")
    stage.drctl("backup")
    if production.sales:
        production.stream()
        time.sleep(_STREAM_SECONDS)
    load.wait_for_rows(count_rows(database) + 100)
    before = count_rows(database)
    stage.drctl("backup", "orders")
    stage.drctl("snapshots")
    return before


def _is_there(production: _Production, server: str) -> bool:
    return bool(production.sales if server == "PostgreSQL" else production.carts)


def _lose_and_recover(stage: _Stage, before: int, committed: list[int]) -> dict[str, object]:
    """The main site goes: its data, its repository, its state. The DR site has what it has."""
    live = stage.path("live")
    tree = fingerprint(os.path.join(live, "uploads"))
    lost = stage.path("lost")
    os.rename(live, lost)
    shutil.rmtree(stage.path("site-main"))
    shutil.rmtree(stage.path("state"))
    stage.say("\nkill -9: the main site is gone: its servers, its disk with all data, its")
    stage.say("repository, its state. The DR site has what it has")
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
    found = {"tree_identical": True, "rows": rows, "rows_due": before, "database_bytes": size}
    return found | (_of_sales(stage, committed) if committed else {})


def _of_sales(stage: _Stage, committed: list[int]) -> dict[str, object]:
    """What the drill's server counted, beside what the load had written down."""
    checks = stage.ask("report", "show")["checks"]
    counted = next(c for c in checks if c["asset"] == "sales" and c["kind"] == "sql")
    rows = int(counted["found"].removeprefix("found "))
    if not 100 <= rows <= len(committed) + 1:  # the last may be committed and not written down
        raise IntegrityError(f"demo: {rows} of {len(committed)} sales came back")
    lost_seconds = (committed[-1] - committed[min(rows, len(committed)) - 1]) / 1e9
    return {"sales": rows, "sales_committed": len(committed), "sales_lost_seconds": lost_seconds}


def _drill(stage: _Stage) -> None:
    """Some containers allow no namespace: a drill cannot prove there that production is out of its
    reach, and so it does not pass."""
    with isolated((), ()) as place:
        why_not = place.why_not
    stage.drctl("drill", "site-gone", code=ExitCode.OBJECTIVE_MISSED if why_not else 0)
    stage.drctl("report", "verify", "state/evidence/demo")
    if why_not:
        stage.say(f"\nthe drill did not pass, as its isolation is not proven here: {why_not}")
    else:
        stage.drctl("gate", "--without", "local")  # it went with the site


def _newest_row(database: str) -> int:
    import sqlite3

    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return int(connection.execute("select max(at_ns) from orders").fetchone()[0])


def _text(document: dict[str, Any]) -> str:
    size = show_bytes(float(document["database_bytes"]))
    lines = [
        "\nthe tree is back, identical in content, names, times, modes and links",
        f"SQLite is back, whole, {size}: {document['rows']} rows, with all {document['rows_due']}",
        "  that were committed before the last backup",
    ]
    if "sales" in document:
        lost = show_seconds(document["sales_lost_seconds"])
        came = f"{document['sales']} of the {document['sales_committed']} rows that"
        lines.append(f"PostgreSQL came back in the drill with {came}")
        lines.append(f"  the load's own log has: the last {lost} before kill -9 are lost")
    return "\n".join([*lines, "the demo came out well"])
