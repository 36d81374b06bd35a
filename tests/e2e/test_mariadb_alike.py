"""A MariaDB's log is replayed as the source wrote it, wherever that is done."""

from contextlib import closing

import pymysql
from mariadb_streams import position, restored, streaming

from drctl.engines.mariadb_alike import Alike

RULES = "CET-1CEST,M3.5.0,M10.5.0/3"  # Europe/Berlin's of today, for a machine without them


OWNERS = (
    "select name, definer, status from mysql.event order by name",
    "select user, host, role, admin_option from mysql.roles_mapping order by 1, 2, 3",
    "select user, host, db, select_priv from mysql.db order by 1, 2, 3",
    "select user, json_value(priv, '$.authentication_string') from mysql.global_priv order by 1",
)


SETTINGS = (
    "--lower-case-table-names=1", "--plugin-load-add=auth_ed25519", "--plugin-load-add=ha_archive",
    "--plugin-load-add=sql_errlog", "--innodb-strict-mode=OFF", "--default-storage-engine=ARCHIVE",
    "--innodb-default-row-format=compact",
)  # fmt: skip
WIDE = ", ".join(f"c{number} char(250) not null" for number in range(40))
CREATED = (
    "select table_name, engine, row_format from information_schema.tables "
    "where table_schema = 'own' and engine <> 'ARCHIVE' order by 1"  # no probe reads that one
)


def act_by_settings(maria) -> None:
    maria.ask("create table own.Items (i int primary key) engine=InnoDB")
    maria.ask("insert into own.ITEMS values (1)")
    maria.ask("create user e@localhost identified via ed25519 using password('secret')")
    maria.ask("create table own.ar (i int)")
    maria.ask(f"create table own.wide ({WIDE}) engine=InnoDB row_format=redundant")


def by(maria, user: str, *statements: str) -> None:
    with closing(pymysql.connect(unix_socket=maria.socket, user=user)) as connection:
        for statement in statements:
            connection.cursor().execute(statement)


def prepare_owners(maria) -> None:
    maria.ask("create event own.e1 on schedule every 1 day do select 1")
    maria.ask("create event own.e2 on schedule every 1 day do select 1")
    maria.ask("create user bob@localhost, carol@localhost, x1@localhost, gone@localhost")
    maria.ask("grant all on *.* to bob@localhost, gone@localhost with grant option")
    maria.ask("create role old")
    maria.ask("grant create user, event on *.* to old")
    maria.ask("grant old to carol@localhost")


def act_by_owners(maria) -> None:
    maria.ask("grant old to x1@localhost")
    maria.ask("create role `ana``lyst`")
    maria.ask("grant `ana``lyst` to x1@localhost")
    by(maria, "bob", "use own", "/* app */ alter event e1 disable", "create role `r 2`",
       "grant select on own.* to current_user()", "set sql_mode = 'oracle'",
       "alter event e2 rename to e3", "use information_schema",
       "alter user current_user() identified by 'it''s'")  # fmt: skip
    by(maria, "carol", "set role old", "alter event own.e1 comment 'x'", "create role by_role")


def test_a_log_is_replayed_as_at_the_source(kept, maria, monkeypatch) -> None:
    """With its time zone, in which DDL and statements say local times; in the name of those who ran
    it; with the settings of its configuration, and its plugins; around the rows of
    tables in memory, which no base has."""
    maria.stop()
    with monkeypatch.context() as surroundings:
        surroundings.setenv("TZ", RULES)
        maria.start(*SETTINGS)
    maria.ask("create database own")
    maria.ask("create table own.t (i int primary key) engine=InnoDB")
    maria.ask("insert into own.t values (1)")
    maria.ask("create table own.sess (i int primary key, v int) engine=MEMORY")
    maria.ask("insert into own.sess values (1, 1), (2, 2)")
    prepare_owners(maria)
    kept.json("backup")
    maria.ask("update own.sess set v = 3 where i = 1")
    maria.ask("delete from own.sess where i = 2")
    act_by_owners(maria)
    act_by_settings(maria)
    maria.ask("alter table own.t add column ts timestamp not null default '2026-01-01 12:00:00'")
    with closing(maria.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("set session binlog_format = 'statement'")
        for second in ("1985-07-01 12:00:00", "2037-10-25 02:59:59"):
            cursor.execute("insert into own.t (ts, i) values (%s, year(ts))", (second,))
    maria.ask("set statement time_zone = '-05:00' for insert into own.t values (4, '2026-01-01')")
    asked = "select i, unix_timestamp(ts) from own.t order by i"
    before = maria.ask(asked)
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    owners = [maria.ask(words) for words in (*OWNERS, CREATED)]
    done, found = restored(kept)
    assert "who may not do it here" in done.stderr
    assert "own.sess: of tables in memory a base has no rows" in done.stderr
    assert list(kept.top.glob("back-0/own/ar.ARZ"))
    with found as up:
        assert [tuple(map(int, row)) for row in up.query(asked)] == [tuple(row) for row in before]
        for words, expected in zip((*OWNERS, CREATED), owners, strict=True):
            rows = tuple(tuple(value or "" for value in row) for row in expected)
            assert up.query(words) == rows, done.stderr


def test_a_plugin_of_the_source_that_is_not_here_is_named_with_its_package() -> None:
    told = '[["ROCKSDB", "ha_rocksdb.so"], ["ed25519", "auth_ed25519.so"]]'
    found = Alike.of({"plugins": told, "lower_case_table_names": "2"})
    assert [one.package for one in found.plugins] == ["mariadb-plugin-rocksdb", "mariadb-server"]
    assert not [word for word in found.options if "table-names" in word]
