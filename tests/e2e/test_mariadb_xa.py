"""A MariaDB's XA transactions: prepared in one session, completed by whoever comes."""

import time
from contextlib import closing, suppress

import pymysql
from mariadb_streams import position, restored, streaming


def prepare(maria, name: str, *rows: int) -> None:
    """Its session is over then."""
    with closing(maria.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"xa start '{name}'")
        for row in rows:
            cursor.execute("insert into own.t values (%s)", (row,))
        cursor.execute(f"xa end '{name}'")
        cursor.execute(f"xa prepare '{name}'")
        session = connection.thread_id()
    while maria.ask("select 1 from information_schema.processlist where id = %s", session):
        time.sleep(0.005)  # until then nobody else can complete it


def complete(maria, name: str, how: str = "commit") -> None:
    maria.ask(f"xa {how} '{name}'")


def test_what_is_prepared_comes_back_to_be_completed_before_or_after_others(kept, maria) -> None:
    maria.ask("create database own")
    maria.ask("create table own.t (i int primary key)")
    prepare(maria, "before the base", 1)
    kept.json("backup")
    prepare(maria, "beside others", 2)
    prepare(maria, "never", 3)
    maria.ask("insert into own.t values (4)")
    complete(maria, "beside others")
    complete(maria, "before the base")
    complete(maria, "never", "rollback")
    for number in (5, 6, 7):
        prepare(maria, f"at once {number}", number)
        complete(maria, f"at once {number}")
    prepare(maria, "across files", 8)
    maria.ask("flush binary logs")
    complete(maria, "across files")
    maria.ask("create user x1@localhost")
    with closing(maria.connect()) as connection, connection.cursor() as cursor:
        with suppress(pymysql.MySQLError):
            cursor.execute("drop user x1@localhost, nope@localhost")  # ends half way
        for words in ("xa start 'one phase'", "insert into own.t values (9)", "xa end 'one phase'",
                      "xa commit 'one phase' one phase"):  # fmt: skip
            cursor.execute(words)
    prepare(maria, "left", 10)
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    done, found = restored(kept)
    with found as up:
        rows = up.query("select i from own.t order by i")
        assert [int(row[0]) for row in rows] == [1, 2, 4, 5, 6, 7, 8, 9], done.stderr
        assert [row[3] for row in up.query("xa recover format = 'sql'")] == ["'left'"]
        assert up.query("select user from mysql.user where user like 'x%'") == ()
