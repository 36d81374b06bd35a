"""One database comes out of a cluster's snapshot: as a dump, or straight into another server."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import PLAN, Cluster, bindir, give, place


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with place() as top:
        made = Cluster(give(top / "live")).init().up()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def site(cluster: Cluster, new_site: Callable[[Path], Any]) -> Any:
    """A snapshot of two databases; then the one that matters is lost."""
    made = new_site(cluster.top.parent)
    (made.top / "home").mkdir(exist_ok=True)
    made.plan(PLAN.format(settings=cluster.settings()))
    made.run("init")
    cluster.half_drop("dying")
    cluster.sql("create role clerk")
    for name in ("shop", "other"):
        cluster.sql(f'create database "{name}"')
        cluster.sql("create table t as select generate_series(1, 1000) as id", dbname=name)
        cluster.sql("alter table t owner to clerk", dbname=name)
    made.run("backup")
    cluster.sql("drop table t", dbname="shop")
    return made


def rows(cluster: Cluster) -> list[tuple[Any, ...]]:
    return cluster.sql(
        "select count(*), (select tableowner from pg_tables where tablename = 't') from t",
        dbname="shop",
    )


def nothing_is_left(site: Any) -> bool:
    return not list(site.top.rglob("drill-*"))


def test_a_database_becomes_a_dump_that_pg_restore_loads(cluster, site) -> None:
    file = site.top / "shop.dump"
    site.run("restore", "orders", "--database", "shop", "--to", file)
    assert file.stat().st_mode & 0o777 == 0o600
    where = ("-h", str(cluster.top), "-U", "drctl", "-d", "shop")
    argv = [str(bindir() / "pg_restore"), *where, str(file)]
    subprocess.run(argv, check=True, capture_output=True)
    assert rows(cluster) == [(1000, "clerk")]
    assert nothing_is_left(site)
    told = site.run("restore", "orders", "--database", "shop", "--to", file, code=9).stderr
    assert "exists: nothing was restored" in told


def test_a_database_goes_straight_across_or_not_at_all(cluster, site) -> None:
    server = f"host={cluster.top} user=drctl dbname=shop"
    site.run("restore", "orders", "--database", "shop", "--to", server)
    assert rows(cluster) == [(1000, "clerk")]
    cluster.sql("insert into t values (1001)", dbname="shop")
    told = site.run("restore", "orders", "--database", "shop", "--to", server, code=9).stderr
    assert "the database shop is not empty, it has public.t" in told
    assert rows(cluster) == [(1001, "clerk")]
    cluster.sql("alter table t rename to older", dbname="shop")  # no name would collide
    told = site.run("restore", "orders", "--database", "shop", "--to", server, code=9).stderr
    assert "the database shop is not empty, it has public.older" in told
    assert cluster.sql("select count(*) from pg_tables where tablename = 't'", dbname="shop") == [
        (0,)
    ]
    assert nothing_is_left(site)


def test_what_cannot_be_is_told_and_leaves_nothing(site) -> None:
    file = site.top / "none.dump"
    told = site.run("restore", "orders", "--database", "shopp", "--to", file, code=9).stderr
    assert "it had other, postgres, shop" in told
    told = site.run("restore", "orders", "--database", "dying", "--to", file, code=9).stderr
    assert "the database dying could not be read then: an interrupted DROP" in told
    for secret in ("password=hunter2", "sslpassword=hunter2"):
        words = ("--database", "shop", "--to", f"dbname=x {secret}")
        told = site.run("restore", "orders", *words, code=2).stderr
        assert ".pgpass" in told
        assert "hunter2" not in told
    told = site.run(
        "restore", "orders", "--database", "shop", "--to", "host=/x user=drctl", code=2
    ).stderr
    assert "add dbname=NAME" in told
    site.run("restore", "orders", "--database", "x", "--delta", "--to", file, code=2)
    assert not list(site.top.glob("none.dump*"))
    assert nothing_is_left(site)
