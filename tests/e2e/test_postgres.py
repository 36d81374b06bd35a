"""PostgreSQL: a running cluster is saved, both ways, and comes back as a server that starts."""

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import PLAN, Cluster, give, place, standing

from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.postgres import Source
from drctl.engines.postgres_client import Settings
from drctl.errors import SourceError
from drctl.events import Silent


class Load:
    """Commits one row after the other until it is told to end."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.sql("create table load (id bigint primary key, pad text)")
        self.committed = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with self.cluster.connect() as connection:
            while not self._ended.is_set():
                connection.execute(
                    "insert into load values (%s, repeat('x', 300))", (self.committed + 1,)
                )
                self.committed += 1

    def __enter__(self) -> "Load":
        self._thread.start()
        while not self.committed:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with place() as top:
        made = Cluster(give(top / "live")).init().up()
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def site_of(cluster: Cluster, new_site: Callable[[Path], Any]) -> Callable[..., Any]:
    """A site beside the cluster, with a plan that protects it."""

    def make(**settings: Any) -> Any:
        site = new_site(cluster.top.parent)
        (site.top / "home").mkdir(exist_ok=True)
        site.plan(PLAN.format(settings=cluster.settings(**settings)))
        site.run("init")
        return site

    return make


def test_with_few_open_files_fewer_are_read_together_or_what_to_do_is_told(
    cluster, site_of, limited
) -> None:
    cluster.sql("create table orders as select generate_series(1, 3000) id")
    site = site_of(mode="local")
    said = limited(site, 11, "backup", code=4).stderr
    assert "Too many open files" in said
    assert "'ulimit -n 1024' in this shell raises it" in said
    assert site.snapshots() == []

    said = limited(site, 40, "backup").stderr
    assert "this process may have 40 files open at once" in said
    site.run("restore", "orders", "--to", site.top / "back")
    with standing(site.top / "back", site.top / "up") as back:
        assert back.sql("select count(*) from orders") == [(3000,)]


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_a_cluster_under_load_comes_back_whole_and_starts(cluster, site_of, mode) -> None:
    site = site_of(mode=mode)
    with Load(cluster) as load:
        before = load.committed
        (done,) = site.json("backup")["snapshots"]
    assert done["facts"]["mode"] == mode
    assert done["suspect"] == "", "a sound snapshot must count as one"
    site.run("restore", "orders", "--to", site.top / "back")
    with standing(site.top / "back", site.top / "up") as back:
        (count, last), *_ = back.sql("select count(*), max(id) from load")
        assert count == last, "a row is missing in the middle"
        assert before <= last <= load.committed
        assert back.sql("show data_checksums") == [("on",)]


def test_nothing_but_its_address_is_needed(cluster, new_site) -> None:
    site = new_site(cluster.top.parent)
    (site.top / "home").mkdir()
    site.plan(PLAN.format(settings=f"{{host: {cluster.top}, port: 5432}}"))
    site.variables["PGUSER"] = "drctl"
    site.run("init")
    site.run("backup")
    site.run("restore", "orders", "--to", site.top / "back")
    with standing(site.top / "back", site.top / "up") as back:
        assert back.sql("select 1") == [(1,)]


def test_a_database_without_an_encoding_is_saved_and_what_cannot_be_told_is_an_error(
    cluster, site_of
) -> None:
    """As `initdb` makes them where there is no locale; what is in them may be of any encoding."""
    cluster.sql("create database bare encoding 'SQL_ASCII' template template0")
    cluster.sql("create table t as select E'caf\\xe9' as word", dbname="bare")
    site = site_of(dbname="bare")
    site.variables["PGCLIENTENCODING"] = "SQL_ASCII"
    site.run("backup")
    site.run("restore", "orders", "--database", "bare", "--to", site.top / "bare.dump")
    site.plan(PLAN.format(settings=cluster.settings(dbname="bare", dump="true")))
    site.run("backup")
    with cluster.connect("bare") as connection:
        connection.execute(b'create database "caf\xe9" template template0')
    for dbname in ("bare", "postgres"):
        site.plan(PLAN.format(settings=cluster.settings(dbname=dbname, dump="true")))
        assert "has letters of another encoding" in site.run("backup", code=4).stderr


def test_each_refusal_of_the_server_tells_what_to_do_about_it(cluster, site_of) -> None:
    cluster.sql("create role bare login")
    cluster.sql("create database shop")
    for settings, hint in (
        ({"dbname": "nosuchdb"}, "set 'dbname' to one that is there"),
        ({"database_role": "nobodyrole"}, "has no such role"),
        ({"database_role": "bare", "dbname": "shop"}, "lacks a grant in the database shop"),
    ):
        assert hint in site_of(**settings).run("backup", code=4).stderr


def test_what_did_not_change_is_neither_read_nor_stored_again(cluster, site_of) -> None:
    site = site_of(mode="local")
    cluster.sql("create table t as select generate_series(1, 20000) as id")
    cluster.sql("checkpoint")
    site.run("backup")
    threading.Event().wait(2.1)  # younger files may change unseen, so they are read again
    site.run("backup")
    (again,) = site.json("backup")["snapshots"]
    assert again["unchanged"] > 800
    assert again["added_bytes"] < 200_000


@pytest.mark.parametrize("mode", ["local", "remote"])
def test_tablespaces_come_back_beside_the_target(cluster, site_of, mode) -> None:
    space = give(cluster.top.parent / "space")
    site = site_of(mode=mode)
    cluster.sql(f"create tablespace fast location '{space}'")
    cluster.sql("create table t tablespace fast as select generate_series(1, 1000) as id")
    site.run("backup")
    site.run("restore", "orders", "--to", site.top / "back")
    (link,) = (site.top / "back/pg_tblspc").iterdir()
    assert Path(os.readlink(link)).parent == site.top / "back-tablespaces"
    cluster.stop()
    with standing(site.top / "back", site.top / "up") as back:
        assert back.sql("select count(*) from t") == [(1000,)]
        assert back.sql(
            "select pg_tablespace_location(oid) from pg_tablespace where oid > 9999"
        ) == [(os.readlink(link),)]


def linked(cluster: Cluster, *paths: str) -> None:
    """Move these elsewhere while the server is down, and lead a link there, as to another disk."""
    cluster.stop()
    disk = give(cluster.top.parent / "disk")
    for path in paths:
        there = disk / path.replace("/", "-")
        (cluster.data / path).rename(there)
        (cluster.data / path).symlink_to(there)
    cluster.up()


def test_what_was_moved_behind_a_link_is_part_of_the_cluster(cluster, site_of) -> None:
    cluster.sql("create database shop")
    cluster.sql("create table t as select generate_series(1, 1000) as id", dbname="shop")
    ((oid, path),) = cluster.sql(
        "select d.oid, pg_relation_filepath('t') from pg_database d where datname = 'shop'",
        dbname="shop",
    )
    cluster.sql("alter system set client_min_messages = error")
    linked(cluster, path, f"base/{oid}", "pg_xact", "pg_hba.conf")
    site = site_of(mode="remote")
    said = site.run("backup", code=4).stderr
    assert "is a link, or no plain file, and the server does not send it" in said
    assert "'mode: local', which follows links" in said
    assert site.snapshots() == []

    site.plan(PLAN.format(settings=cluster.settings(mode="local")))
    site.run("backup")
    site.run("restore", "orders", "--to", site.top / "back")
    for name in (path, f"base/{oid}", "pg_xact", "pg_hba.conf"):
        assert not (site.top / "back" / name).is_symlink()
    with standing(site.top / "back", site.top / "up") as back:
        assert back.sql("select count(*) from t", dbname="shop") == [(1000,)]


def test_a_link_that_leads_nowhere_or_back_or_to_what_is_not_the_servers_is_refused(
    cluster, site_of
) -> None:
    site = site_of(mode="local")
    secret = site.top / "secret"
    secret.write_text("of somebody else")
    secret.chmod(0o600 if os.geteuid() == 0 else 0)
    for name, leads_to, told in (
        ("self", ".", "back to a directory that it is in"),
        ("base/99999", "/not/mounted", "leads to /not/mounted, where nothing is"),
        ("more.conf", secret, "may not read|Permission denied"),
        ("pg_tblspc/99999", "99999", "pg_tblspc/99999: .*Too many levels of symbolic links"),
    ):
        (cluster.data / name).symlink_to(leads_to)
        assert re.search(told, site.run("backup", code=4).stderr)
        (cluster.data / name).unlink()
    assert site.snapshots() == []


def test_sockets_and_their_locks_are_passed_over(cluster, site_of) -> None:
    (cluster.data / "log").symlink_to(give(cluster.top.parent / "logs"))
    (cluster.data / ".s.PGSQL.5999.lock").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(cluster.data / ".s.PGSQL.5999"))
        for mode in ("local", "remote"):
            site = site_of(mode=mode)
            said = site.run("backup").stderr
            assert ("./log is a link, and the server does not" in said) == (mode == "remote")
            assert ".s.PGSQL" not in said + site.run("ls", "orders").stdout


def spoil_page(cluster: Cluster) -> str:
    """Change bytes on the disk behind the server's back: in page 3, the first of page 5, all of
    page 7. Gives the file."""
    cluster.sql("create table t as select generate_series(1, 5000) as id")
    cluster.sql("checkpoint")
    ((path,),) = cluster.sql("select pg_relation_filepath('t')")
    with (cluster.data / path).open("r+b") as file:
        file.seek(3 * 8192 + 5000)
        file.write(b"\xff\xfe")
        file.seek(5 * 8192)
        file.write(bytes(512))
        file.seek(7 * 8192)
        file.write(bytes(range(255, -1, -1)) * 32)
    return str(path)


# Over the wire the server proves pages, and passes what has no head or an LSN of the future.
@pytest.mark.parametrize(
    ("mode", "pages", "more"), [("local", 3, ", and 2 more"), ("remote", 1, "")]
)
def test_a_corrupt_page_is_told_and_never_displaces_a_good_snapshot(
    cluster, site_of, mode, pages, more
) -> None:
    site = site_of(mode=mode)
    (good,) = site.json("backup")["snapshots"]
    path = spoil_page(cluster)
    (bad,) = site.json("backup", code=11)["snapshots"]
    assert bad["entry_problems"] == [
        {
            "path": path,
            "what": f"the checksum of page 3 is wrong{more}: the cluster is corrupt there",
        }
    ]
    assert (bad["status"], bad["facts"]["corrupt_pages"]) == ("partial", str(pages))
    assert bad["suspect"] == f"pages whose checksum is wrong: {pages}"
    done = site.json("restore", "orders", "--to", site.top / "back")
    assert done["snapshot"]["id"] == good["id"]


def test_wal_that_the_server_takes_for_later_while_it_is_read_is_not_kept(cluster) -> None:
    """It renames a segment and writes over it: what was read may be either."""
    settings = Settings(host=str(cluster.top), database_role="drctl", mode="local")
    around = Surroundings(SystemClock(), Silent(), "/", "/")
    wal = cluster.data / "pg_wal"
    with Source(settings, "orders", around).open() as capture:
        with Source(settings, "orders", around).open():
            held = "select count(*) from pg_replication_slots where temporary"
            assert cluster.sql(held) == [(2,)], "of one process, as in containers each has its 1"
        items = capture.items()
        first = next(i for i in items if i.content and i.path.startswith(b"pg_wal/0"))
        (cluster.data / os.fsdecode(first.path)).rename(wal / "0000000100000000000000AA")
        with pytest.raises(SourceError, match="is gone from pg_wal before it was saved"):
            next(items)


def test_a_restore_never_touches_what_is_there_or_runs(cluster, site_of) -> None:
    site = site_of(mode="local")
    site.run("backup")
    before = sorted(p.name for p in cluster.data.iterdir())
    done = site.run("restore", "orders", "--to", cluster.data, code=9)
    assert "is not empty" in done.stderr
    assert sorted(p.name for p in cluster.data.iterdir()) == before
    assert cluster.sql("select 1") == [(1,)]


def test_a_delta_writes_only_what_differs_into_a_stopped_cluster(cluster, site_of) -> None:
    space = give(cluster.top.parent / "space")
    site = site_of(mode="local")
    cluster.sql(f"create tablespace fast location '{space}'")
    cluster.sql("create table t tablespace fast as select generate_series(1, 1000) as id")
    cluster.sql("create table big as select generate_series(1, 200000) as id")
    site.run("backup")
    cluster.sql("delete from t where id > 10")
    cluster.sql("update big set id = -id where id <= 100")
    cluster.sql("create table later as select generate_series(1, 50000) as id")
    refused = site.run("restore", "orders", "--to", cluster.data, "--delta", code=9)
    assert "a server runs there" in refused.stderr
    assert cluster.sql("select count(*) from t") == [(10,)]
    cluster.stop()
    (cluster.data / "base/5/left-over").write_text("of somebody")
    done = site.run("restore", "orders", "--to", cluster.data, "--delta")
    written, same = re.findall(r"(\S+ \S+) were written, (\S+ \S+) were as", done.stderr)[0]
    assert written.endswith(("MiB", "KiB"))
    assert float(written.split()[0]) < 20 or written.endswith("KiB")
    assert same.endswith("MiB")
    assert not (cluster.data / "base/5/left-over").exists()
    with standing(cluster.data, site.top / "up") as back:
        assert back.sql("select count(*) from t") == [(1000,)]
        assert back.sql("select count(*) from big where id < 0") == [(0,)]
        assert back.sql("select to_regclass('later')") == [(None,)]
        assert back.sql(
            "select pg_tablespace_location(oid) from pg_tablespace where oid > 9999"
        ) == [(str(space),)]


def test_a_delta_touches_no_other_cluster_and_nothing_that_is_none(cluster, site_of) -> None:
    site = site_of(mode="local")
    site.run("backup")
    other = Cluster(give(site.top / "other")).init()
    before = (other.data / "global/pg_control").read_bytes()
    done = site.run("restore", "orders", "--to", other.data, "--delta", code=9)
    assert "is another cluster" in done.stderr
    assert (other.data / "global/pg_control").read_bytes() == before
    empty = give(site.top / "empty")
    site.run("restore", "orders", "--to", empty, "--delta", code=9)
    assert list(empty.iterdir()) == []


def test_configuration_outside_the_data_directory_comes_back_as_settings(new_site) -> None:
    """As on Debian, whose postgresql.conf lies in /etc."""
    with place() as top:
        cluster = Cluster(
            give(top / "live"), conf="max_connections = 33\nwork_mem = '5MB'\n"
        ).init()
        etc = give(top / "etc")
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf"):
            (cluster.data / name).rename(etc / name)
        with (etc / "postgresql.conf").open("a") as file:
            file.write(f"data_directory = '{cluster.data}'\nhba_file = '{etc}/pg_hba.conf'\n")
            file.write(f"ident_file = '{etc}/pg_ident.conf'\n")
        from clusters import start

        cluster.process = start(etc, cluster.top)
        try:
            site = new_site(top)
            (top / "home").mkdir()
            site.plan(PLAN.format(settings=cluster.settings()))
            site.run("init")
            site.run("backup")
        finally:
            cluster.stop()
        site.run("restore", "orders", "--to", top / "back")
        with standing(top / "back", top / "up") as back:
            assert back.sql("show max_connections") == [("33",)]
            assert back.sql("show work_mem") == [("5MB",)]
            assert back.sql("show data_directory") == [(str(top / "back"),)]


def test_what_goes_wrong_says_what_to_do(cluster, site_of) -> None:
    site = site_of(port=5999)
    assert "is it running" in site.run("backup", code=4).stderr
    cluster.sql("create role nobody_much login")
    site.plan(PLAN.format(settings=cluster.settings(database_role="nobody_much")))
    told = site.run("backup", code=4).stderr
    assert "docs/engines/postgres.md" in told
    cluster.stop()
    (cluster.data / "postgresql.auto.conf").write_text("wal_level = minimal\nmax_wal_senders = 0\n")
    cluster.up()
    site.plan(PLAN.format(settings=cluster.settings()))
    assert "wal_level = replica" in site.run("backup", code=4).stderr
    assert site.snapshots() == []
