"""Tablespaces of a restored PostgreSQL: nothing of what the saved server has is ever written."""

import hashlib
from pathlib import Path

from clusters import give, standing


def content(top: Path) -> dict[str, str]:
    """All below it, and the modes."""
    return {
        str(path): hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()
        + oct(path.stat().st_mode)
        for path in sorted(top.rglob("*"))
    }


def test_replay_makes_a_tablespace_inside_and_leaves_the_saved_servers_alone(stage_of) -> None:
    """It was made after the snapshot, and the saved server stands on the same machine: its log
    tells to make the tablespace just where that has it."""
    stage = stage_of(mode="local")
    space = give(stage.site.top / "space")
    stage.site.run("backup")
    stage.follow()
    sql = stage.cluster.sql
    sql(f"create tablespace fast location '{space}'")
    sql("create table load (id bigint) tablespace fast")
    sql("insert into load select generate_series(1, 100)")
    sql("create database other tablespace fast")
    stage.stored_to(stage.now_lsn())
    stage.unfollow()
    sql("insert into load select generate_series(101, 5000)")
    sql("checkpoint")
    before = content(space)

    to = stage.site.top / "back"
    said = stage.site.run("restore", "orders", "--to", to).stderr
    ((number,),) = sql("select oid from pg_tablespace where spcname = 'fast'")
    inside = to / f"pg_tblspc/{number}"
    assert f"at {space} on the source: here it is made in {inside}" in said
    with standing(to, stage.site.top / "up") as back:
        assert back.sql("select count(*) from load") == [(100,)]
        assert back.sql("select count(*) from pg_class", dbname="other")[0][0] > 300
    assert inside.is_dir()
    assert not inside.is_symlink()
    assert content(space) == before
    assert sql("select count(*) from load") == [(5000,)]
