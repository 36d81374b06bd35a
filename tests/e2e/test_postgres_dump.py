"""Dumps of PostgreSQL: they load into another cluster, and what is not proven is not kept."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import PLAN, Cluster, bindir, give, place

from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.postgres import ENGINE
from drctl.engines.postgres_client import Client, Settings
from drctl.engines.postgres_dump import _Tools
from drctl.errors import SourceError
from drctl.events import Silent

PASSWORD = "not:in any \\ list"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with place() as top:
        made = Cluster(give(top / "live")).init().up()
        try:
            made.sql("create role reader login")
            made.sql('create database "odd name/ü"')
            made.sql("create table t (id int primary key, v bytea)", dbname="odd name/ü")
            made.sql("insert into t values (1, '\\x00ff27'), (2, null)", dbname="odd name/ü")
            made.sql("grant select on t to reader", dbname="odd name/ü")
            made.sql(f"create tablespace \"of disks\" location '{give(top / 'space')}'")
            made.sql('create table big (id int, pad text) tablespace "of disks"')
            made.sql("insert into big select i, repeat('x', 200) from generate_series(1, 20000) i")
            yield made
        finally:
            made.stop()


@pytest.fixture
def site(cluster: Cluster, new_site: Callable[[Path], Any]) -> Any:
    made = new_site(cluster.top.parent)
    (made.top / "home").mkdir(exist_ok=True)
    made.plan(PLAN.format(settings=cluster.settings(dump="true")))
    made.run("init")
    return made


def test_dumps_load_into_another_cluster_with_roles_and_odd_names(cluster, site) -> None:
    cluster.half_drop("dying")
    assert "the database dying is passed over" in site.run("backup").stderr
    (made,) = site.snapshots()
    assert made["facts"]["databases"] == "2"
    site.run("restore", "orders", "--to", "back")
    back = site.top / "back"
    names = sorted(path.name for path in (back / "databases").iterdir())
    assert names == ["odd name%2F%C3%BC.dump", "postgres.dump"]
    space = [*(cluster.top.parent / "space").rglob("*")]
    probe = ENGINE.probe(Settings(), str(back), Surroundings(SystemClock(), Silent(), "/", "/"))
    with probe.open() as up:
        assert up.health().ok
        assert up.counts() == {
            "rows.odd name/ü.public.t": 2,
            "rows.postgres.public.big": 20000,
        }
    assert not (site.top / "back.drctl-loaded").exists()
    assert [*(cluster.top.parent / "space").rglob("*")] == space
    with place() as top:
        other = Cluster(give(top / "other")).init().up()
        try:
            load(other, back)
            assert other.sql("select id, v from t order by id", dbname="odd name/ü") == [
                (1, b"\x00\xff'"),
                (2, None),
            ]
            assert other.sql("select count(*) from big") == [(20000,)]
            granted = "select has_table_privilege('reader', 't', 'select')"
            assert other.sql(granted, dbname="odd name/ü") == [(True,)]
        finally:
            other.stop()


def load(other: Cluster, back: Path) -> None:
    """As docs/engines/postgres-dump.md says; the first one's tablespace has its place already."""
    at = ["-h", str(other.top), "-U", "drctl"]
    psql = [str(bindir() / "psql"), *at, "-d", "postgres", "-f", str(back / "globals.sql")]
    subprocess.run(psql, check=True, capture_output=True)
    restore = [str(bindir() / "pg_restore"), *at, "-d", "template1", "--create", "--no-tablespaces"]
    for path in sorted((back / "databases").iterdir()):
        subprocess.run([*restore, "--clean", "--if-exists", path], check=True, capture_output=True)


def test_a_second_dump_of_the_same_data_costs_next_to_nothing(site) -> None:
    first = site.json("backup")["snapshots"][0]
    second = site.json("backup")["snapshots"][0]
    assert second["size_bytes"] > 4_000_000
    assert second["added_bytes"] < first["size_bytes"] / 100


@pytest.mark.parametrize(
    ("program", "script", "said"),
    [
        ("pg_dump", '{real} "$@" | head -c 1000000', "pg_restore failed with exit status 1"),
        ("pg_dump", '{real} "$@"; exit 3', "pg_dump of odd name/ü failed with exit status 3"),
        ("pg_dumpall", '{real} "$@" | head -n 9', "ended without the line '-- PostgreSQL"),
        ("pg_restore", "exit 7", "pg_restore"),
    ],
    ids=["cut", "status", "globals-cut", "unreadable"],
)
def test_a_dump_that_is_not_proven_is_not_kept(site, program, script, said) -> None:
    instead(site, program, script)
    done = site.run("backup", code=4)
    assert said in done.stderr
    assert site.snapshots() == []


def test_a_database_that_is_dropped_meanwhile_is_passed_over_and_no_other(cluster, site) -> None:
    statement = site.top / "statement.sql"
    psql = f"{bindir()}/psql -q -h {cluster.top} -U drctl -d postgres -f {statement}"
    instead(site, "pg_dump", f'case "$*" in *odd*) {psql};; esac; exec {{real}} "$@"')
    statement.write_text('alter database "odd name/ü" rename to "even name"')
    assert "does not exist" in site.run("backup", code=4).stderr
    statement.write_text('drop database "odd name/ü"')
    cluster.sql('alter database "even name" rename to "odd name/ü"')
    assert "odd name/ü was dropped meanwhile" in site.run("backup").stderr
    (made,) = site.snapshots()
    assert made["facts"]["databases"] == "1"
    site.run("restore", "orders", "--to", "back")
    assert [path.name for path in (site.top / "back/databases").iterdir()] == ["postgres.dump"]


def instead(site, program: str, script: str) -> None:
    """A program that fails, beside the others as they are."""
    folder = site.top / "programs"
    folder.mkdir()
    for name in ("pg_dump", "pg_dumpall", "pg_restore"):
        (folder / name).symlink_to(bindir() / name)
    (folder / "pg_ctl").symlink_to(bindir() / "pg_ctl")
    (folder / program).unlink()
    real = bindir() / program
    words = f'[ "$1" != --version ] || exec {real} "$@"\n{script.format(real=real)}\n'
    (folder / program).write_text(f"#!/bin/sh\n{words}")
    (folder / program).chmod(0o755)
    site.variables["PATH"] = f"{folder}:{os.environ['PATH']}"


def test_an_older_program_is_passed_over_and_where_there_is_no_other_refused(site) -> None:
    instead(site, "pg_dump", "")
    (site.top / "programs/pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.1'\n")
    site.run("backup")
    around = Surroundings(SystemClock(), Silent(), "/", "/")
    with pytest.raises(SourceError, match="the server is 99") as caught:
        _Tools(Client(Settings(), "orders", around), 99, "99.1")
    assert "apt-get install postgresql-client-99" in caught.value.hint


def test_a_password_is_in_no_argument_and_no_environment(cluster, site) -> None:
    cluster.sql(f"alter role drctl password '{PASSWORD}'")
    (cluster.data / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    cluster.sql("select pg_reload_conf()")
    password = site.top / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    site.plan(PLAN.format(settings=cluster.settings(dump="true", password="file:password")))
    seen = site.top / "seen"
    look = f"tr '\\0' '\\n' </proc/$$/environ >>{seen}; tr '\\0' '\\n' </proc/$$/cmdline >>{seen}"
    instead(site, "pg_dump", f'{look}; exec {{real}} "$@"')
    site.run("backup")
    assert "--format=custom" in seen.read_text()
    assert "in any" not in seen.read_text()
    assert "correct horse" not in seen.read_text()
