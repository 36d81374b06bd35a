"""MariaDB's tables whose files lie elsewhere come back without reaching for the source's."""

import os
import shutil
from pathlib import Path

from mariadb_servers import owner
from mariadb_streams import position, restored, streaming

from drctl.engines.mariadb_client import ask
from drctl.engines.mariadb_server import private_server


def as_they_are(top: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in top.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_tables_with_a_data_directory_come_back_while_the_source_has_its_own(kept, maria) -> None:
    """Also one that is altered on the way, and one that is created after the base; undo logs, too,
    are the source's own."""
    other = maria.home / "elsewhere"
    other.mkdir(mode=0o755)
    if user := owner():
        os.chown(other, *user)
    maria.ask("set global innodb_fast_shutdown = 0")  # undo logs are moved by this alone
    maria.stop()
    maria.start("--innodb-undo-tablespaces=2", f"--innodb-undo-directory={other}")
    assert list(other.glob("undo*"))
    there = f"data directory = '{other}'"
    maria.ask("create database `a b`")
    maria.ask(f"create table `a b`.`o'ne` (i int primary key, t text, fulltext (t)) {there}")
    maria.ask("create table `a b`.parts (i int primary key) partition by hash (i) "
              f"(partition p0 {there}, partition p1 {there})")  # fmt: skip
    maria.ask(f"create table `a b`.old (i int) engine=MyISAM {there}")
    maria.ask(f"create table `a b`.kept (i int primary key) {there} with system versioning")
    kept.json("backup")
    maria.ask("insert into `a b`.`o'ne` (i) values (1), (2)")
    maria.ask("insert into `a b`.parts values (1), (2)")
    maria.ask("insert into `a b`.old values (1), (2)")
    maria.ask("insert into `a b`.kept values (1), (2)")
    maria.ask("alter table `a b`.`o'ne` add column j int, force")
    maria.ask("alter table `a b`.parts force")
    maria.ask(f"create table `a b`.late (i int primary key) {there}")
    maria.ask("insert into `a b`.late values (1), (2)")
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    maria.stop()
    before = as_they_are(other)
    done, found = restored(kept)
    assert f"`a b`.`parts` was kept in {other}" in done.stderr
    assert f"`a b`.`kept` was kept in {other}" in done.stderr
    with found as up:
        for asked in (
            "select i from `a b`.`o'ne` order by i",
            "select i from `a b`.parts order by i",
            "select i from `a b`.old order by i",
            "select i from `a b`.late order by i",
            "select i from `a b`.kept order by i",
        ):
            assert up.query(asked) == (("1",), ("2",)), asked
        assert up.health().ok
    assert as_they_are(other) == before
    assert not list(kept.top.glob("back-*/*/*.isl"))


def test_a_private_server_reaches_no_other_one_by_its_tables(maria_template, tmp_path) -> None:
    """Replayed onto a FEDERATED table, a log would be written into production once more."""
    at = shutil.copytree(maria_template, tmp_path / "restored")
    for _ in range(2):
        with private_server(str(at), takes_in=True) as server:
            with server.connect() as connection:
                found = ask(connection, "show engines")
                engines = {str(row[0]) for row in found if row[1] != "NO"}
                ask(connection, "insert ignore into mysql.plugin values "
                                "('FEDERATED', 'ha_federatedx.so')")  # fmt: skip
            server.stop()
    assert "InnoDB" in engines
    assert "FEDERATED" not in engines
