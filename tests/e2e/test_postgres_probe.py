"""PostgreSQL: the documented grants suffice; a restored cluster is asked and judged."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from clusters import PLAN, Cluster, bindir, give, place
from recoverable import asked_in_vain

from drctl.clock import SystemClock
from drctl.engines import postgres
from drctl.engines.base import Surroundings
from drctl.errors import TargetRefused
from drctl.events import Silent

DOCUMENT = (Path(__file__).parents[2] / "docs/engines/postgres.md").read_text("utf-8")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with place() as top:
        made = Cluster(give(top / "live")).init().up()
        (top / "home").mkdir()
        try:
            yield made
        finally:
            made.stop()


def around(top: Path) -> Surroundings:
    return Surroundings(SystemClock(), Silent(), str(top), str(top))


def as_documented(cluster: Cluster) -> None:
    """The role exactly as the document makes it."""
    (statements,) = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.DOTALL)
    for statement in filter(str.strip, statements.replace("drctl", "keeper").split(";")):
        cluster.sql(statement.replace("schema keeper", "schema drctl"))


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_the_documented_grants_are_enough(cluster, new_site, mode) -> None:
    as_documented(cluster)
    site = new_site(cluster.top.parent)
    site.plan(PLAN.format(settings=cluster.settings(database_role="keeper", mode=mode)))
    site.run("init")
    done = site.run("backup")
    assert "warning" not in done.stderr
    settings = postgres.Settings(host=str(cluster.top), database_role="keeper")
    marker = postgres.Marker(settings, "orders", around(site.top))
    marker.write(5 * 10**9)
    marker.write(7 * 10**9)
    assert cluster.sql("select max(at_ns) from drctl.marker") == [(7 * 10**9,)]


def test_a_password_is_asked_for_and_shown_nowhere(cluster, new_site) -> None:
    as_documented(cluster)
    cluster.sql("alter role keeper password 'hush-hush'")
    access = cluster.data / "pg_hba.conf"
    lines = "local all keeper scram-sha-256\nlocal replication keeper scram-sha-256\n"
    access.write_text(lines + access.read_text())
    cluster.sql("select pg_reload_conf()")
    site = new_site(cluster.top.parent)
    secret = site.top / "password"
    secret.write_text("wrong")
    secret.chmod(0o600)
    words = {"database_role": "keeper", "password": "file:password", "mode": "remote"}
    site.plan(PLAN.format(settings=cluster.settings(**words)))
    site.run("init")
    refused = site.run("backup", code=4)
    assert "'password'" in refused.stderr
    secret.write_text("hush-hush")
    done = site.run("backup")
    assert "hush" not in done.stderr + done.stdout + refused.stderr


def restored(cluster: Cluster, new_site) -> tuple[Path, postgres.Settings]:
    site = new_site(cluster.top.parent)
    site.plan(PLAN.format(settings=cluster.settings()))
    site.run("init")
    site.run("backup")
    site.run("restore", "orders", "--to", site.top / "back")
    return site.top / "back", postgres.Settings(host=str(cluster.top), database_role="drctl")


# What would end or refuse a check.
HINDERING = """
alter database shop set default_transaction_read_only = on;
alter database shop set statement_timeout = '1ms';
alter database shop set lock_timeout = '1ms';
alter database template1 set statement_timeout = '1ms';
alter role drctl in database shop set idle_in_transaction_session_timeout = '1ms';
create function no() returns event_trigger language plpgsql as $$ begin raise 'no ddl'; end $$;
create event trigger "of ten" on ddl_command_start execute function no();
create event trigger ever on ddl_command_end execute function no();
alter event trigger ever enable always;
"""


def test_a_restored_cluster_is_asked_without_being_changed(cluster, new_site) -> None:
    cluster.sql("create database shop")
    cluster.sql("create table s as select generate_series(1, 50000) as id", dbname="shop")
    cluster.sql(HINDERING, dbname="shop")
    cluster.sql("create table t as select generate_series(1, 1234) as id")
    cluster.sql("create index on t (id)")
    cluster.sql("create access method own type table handler heap_tableam_handler")
    cluster.sql("create table odd (id int primary key) using own")
    cluster.half_drop("dying")
    cluster.sql("create database closed allow_connections false")
    cluster.sql("alter database shop is_template true")
    settings = postgres.Settings(host=str(cluster.top), database_role="drctl")
    for at_ns in (10**18, 42):  # a clock that was ahead was set right
        postgres.Marker(settings, "orders", around(cluster.top)).write(at_ns)
    at, settings = restored(cluster, new_site)
    with postgres.Probe(settings, str(at), around(at)).open() as standing:
        health = standing.health()
        assert health.ok, health.what
        assert "; not looked at, since no heap: postgres: odd;" in health.what
        assert "; not looked at is closed: it lets nobody in; not looked at is dying" in health.what
        assert standing.counts() == {
            "rows.postgres.drctl.marker": 1,
            "rows.postgres.public.odd": 0,
            "rows.postgres.public.t": 1234,
            "rows.shop.public.s": 50000,
        }
        assert standing.query("select max(id), null from t") == (("1234", ""),)
        assert standing.newest_mark_ns() == 42
        with pytest.raises(TargetRefused, match="read-only"):
            standing.query("delete from t returning id")
        assert "within 0.3s" in asked_in_vain(standing, "select pg_sleep(600)")
        assert standing.query("select count(*) from pg_extension where extname = 'amcheck'") == (
            ("0",),
        )
    assert not (at / "postmaster.pid").exists()


@pytest.mark.parametrize("kind", ["heap", "index"])
def test_a_copy_that_is_not_whole_is_never_called_healthy(cluster, new_site, kind) -> None:
    """The negative control: a page of the restored copy is spoilt."""
    cluster.sql("create table t as select generate_series(1, 5000) as id")
    cluster.sql("create index i on t (id)")
    ((path,),) = cluster.sql(f"select pg_relation_filepath('{'t' if kind == 'heap' else 'i'}')")
    at, settings = restored(cluster, new_site)
    with postgres.Probe(settings, str(at), around(at)).open() as standing:
        assert standing.health().ok
    with (at / path).open("r+b") as file:
        file.seek(2 * 8192 + 4000)
        file.write(b"\xff" * 40)
    with postgres.Probe(settings, str(at), around(at)).open() as standing:
        health = standing.health()
    assert not health.ok
    assert "invalid page" in health.what


def test_what_does_not_come_up_says_why(cluster, new_site) -> None:
    at, settings = restored(cluster, new_site)
    with (at / "postgresql.auto.conf").open("a") as file:
        file.write("recovery_target_name = 'never'\n")
    with (
        pytest.raises(TargetRefused, match="before configured recovery target was reached"),
        postgres.Probe(settings, str(at), around(at)).open(),
    ):
        pass
    with (at / "postgresql.auto.conf").open("a") as file:
        file.write("recovery_target_name = ''\n")
    catalog = at / "base/1/1259"  # of the database that everybody is asked into
    catalog.write_bytes(b"\xff" * catalog.stat().st_size)
    with (
        pytest.raises(TargetRefused, match=r"(?s)lets nobody in.*FATAL: +invalid page in block"),
        postgres.Probe(settings, str(at), around(at)).open(),
    ):
        pass
    (at / "PG_VERSION").write_text("99\n")
    with (
        pytest.raises(TargetRefused, match="PostgreSQL 99 is not installed"),
        postgres.Probe(settings, str(at), around(at)).open(),
    ):
        pass
    assert bindir().is_dir()


SLEEPING = """\
checks:
  - {asset: orders, sql: "select pg_sleep(600)", expect: {min: 0}}
drills:
  small: {}
"""


def servers_in(top: Path) -> list[str]:
    """What the processes call themselves that work in a directory below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if process.joinpath("cwd").readlink().is_relative_to(top):
                found.append(process.joinpath("cmdline").read_bytes().decode().rstrip("\0 "))
    return [words for words in found if "postgres" in words]


def test_a_drill_that_is_killed_leaves_no_server(cluster, new_site) -> None:
    """Neither the postmaster nor one of its children, though nobody runs drctl any more."""
    site = new_site(cluster.top.parent)
    site.plan(PLAN.format(settings=cluster.settings()) + SLEEPING)
    site.run("init")
    site.run("backup")
    process = site.start("drill", "small")
    deadline = time.monotonic() + 60
    while not any(words.endswith("SELECT") for words in servers_in(site.top / "state")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, servers_in(site.top / "state")
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60  # anew: the drill may have taken most of the first
    while servers_in(site.top / "state"):
        assert time.monotonic() < deadline, servers_in(site.top / "state")
        time.sleep(0.05)
