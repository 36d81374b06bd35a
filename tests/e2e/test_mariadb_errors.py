"""What went wrong at a MariaDB source is in its binlog: it comes back as a replica takes it."""

import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import pymysql
from mariadb_streams import position, restored, streaming, utc


def run(maria, *statements: str) -> None:
    """In one session; an error is the source's own."""
    with closing(maria.connect()) as connection, connection.cursor() as cursor:
        for words in statements:
            with suppress(pymysql.MySQLError):
                cursor.execute(words)


def rows(*numbers: int) -> tuple[tuple[str], ...]:
    return tuple((str(number),) for number in numbers)


def test_a_statement_that_ended_half_way_comes_back_so_and_any_other_error_ends_the_replay(
    kept, maria
) -> None:
    maria.ask("create database own")
    maria.ask("create table own.plain (i int primary key) engine=MyISAM")
    maria.ask("create table own.t (i int primary key)")
    loaded = maria.home / "loaded"
    loaded.write_text("9\n")
    kept.json("backup")
    run(maria, "create user x1@localhost, x2@localhost",
        "drop user x1@localhost, nope@localhost",
        "create user x2@localhost, x3@localhost",
        "insert into own.t values (1)",
        "set binlog_format = statement",
        "create temporary table own.passing (i int)",
        "insert into own.passing values (7)",
        "insert into own.plain values (1), (2), (1), (3)",  # ends behind the second
        "insert into own.plain select i from own.passing",
        f"load data infile '{loaded}' into table own.plain")  # fmt: skip
    maria.ask("flush binary logs")
    run(maria, "drop user x2@localhost, nope@localhost", "insert into own.t values (2), (3)",
        "set binlog_format = statement",
        "set max_statement_time = 1",  # ends this one there, which nothing does here
        "insert into own.plain select 100 + i + sleep(if(i < 3, 0, 2)) from own.t")  # fmt: skip
    run(maria, "begin", "insert into own.plain values (8)", "insert into own.t values (4)",
        "savepoint half", "insert into own.t values (5)", "rollback to half",
        "insert into own.t values (6)", "commit")  # fmt: skip
    ((good,),) = maria.ask("select @@gtid_current_pos")
    run(maria, "set sql_log_bin = 0", "create database odd", "set sql_log_bin = 1",
        "create table odd.t (i int)")  # fmt: skip
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    passing = Path(tempfile.gettempdir())
    before = set(passing.glob("SQL_LOAD*"))
    done, found = restored(kept, "--until", f"gtid:{good}")
    assert set(passing.glob("SQL_LOAD*")) == before, "what was loaded is left behind"
    assert done.stderr.count("ended half way at the source") == 1
    assert "with error 1969, and came through here" in done.stderr
    with found as up:
        assert up.query("select i from own.t order by i") == rows(1, 2, 3, 4, 6)
        assert up.query("select i from own.plain order by i") == rows(1, 2, 7, 8, 9, 101, 102, 103)
        assert up.query("select user from mysql.user where user like 'x%'") == (("x3",),)
    done = kept.run("restore", "shop", "--to", "never", code=6)
    assert "mariadb met an error that the source did not meet" in done.stderr
    assert "Unknown database 'odd'" in done.stderr


def test_what_a_time_leaves_out_since_a_clock_was_ahead_is_told_and_within_reach(
    kept, maria
) -> None:
    """Nothing later than the time comes back, so it stops at what says that it is later."""
    maria.ask("create database own")
    maria.ask("create table own.t (i int primary key)")
    kept.json("backup")
    run(maria, "insert into own.t values (1)",
        "set timestamp = unix_timestamp() + 86400", "insert into own.t values (2)",
        "set timestamp = default", "insert into own.t values (3)",
        "flush binary logs", "insert into own.t values (4)")  # fmt: skip
    ((last,),) = maria.ask("select @@gtid_current_pos")
    second = time.time_ns() // 10**9 + 1
    while time.time_ns() // 10**9 <= second:
        time.sleep(0.1)
    maria.ask("insert into own.t values (5)")
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    done, found = restored(kept, "--at", utc(second))
    with found as up:
        assert up.query("select i from own.t order by i") == rows(1)
    assert "left out: 2 transactions of before that time" in done.stderr
    assert f"--until gtid:{last}" in done.stderr
    done, found = restored(kept, "--until", f"gtid:{last}")
    with found as up:
        assert up.query("select i from own.t order by i") == rows(1, 2, 3, 4)
    assert "left out" not in done.stderr
