"""A MariaDB's log is replayed as the source wrote it, wherever that is done."""

from contextlib import closing

from mariadb_streams import position, restored, streaming

RULES = "CET-1CEST,M3.5.0,M10.5.0/3"  # Europe/Berlin's of today, for a machine without them


def test_a_log_is_replayed_as_at_the_source(kept, maria, monkeypatch) -> None:
    """With its time zone, in which DDL and statements say local times."""
    maria.stop()
    with monkeypatch.context() as surroundings:
        surroundings.setenv("TZ", RULES)
        maria.start()
    maria.ask("create database own")
    maria.ask("create table own.t (i int primary key)")
    maria.ask("insert into own.t values (1)")
    kept.json("backup")
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
    _, found = restored(kept)
    with found as up:
        assert [tuple(map(int, row)) for row in up.query(asked)] == [tuple(row) for row in before]
