"""Tablespaces of a restored PostgreSQL: nothing of what the saved server has is ever written."""

import hashlib
import subprocess
import time
from pathlib import Path

from clusters import give, standing
from wal_stage import Stage


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
        assert back.sql("show allow_in_place_tablespaces") == [("on",)]
    assert inside.is_dir()
    assert not inside.is_symlink()
    assert content(space) == before
    assert sql("select count(*) from load") == [(5000,)]


def delta_over_junk(stage: Stage) -> str:
    """What is not the snapshot's is gone before there is a pg_control, with which a server starts.
    Gives what was said."""
    control = stage.cluster.data / "global/pg_control"
    signal = stage.cluster.data / "standby.signal"
    folders = [stage.cluster.data / name for name in ("a-junk", "pg_wal/junk", "zz-junk")]
    for folder in folders:
        folder.mkdir()
        for number in range(700):
            (folder / str(number)).touch()
    signal.touch()
    control.unlink()
    restoring = stage.site.start("restore", "orders", "--to", stage.cluster.data, "--delta")
    while not control.exists():
        assert restoring.poll() is None or control.exists(), restoring.communicate()
        time.sleep(0.0005)
    left = [path for path in (signal, *folders) if path.exists()]
    said = str(restoring.communicate()[1])
    assert restoring.returncode == 0, said
    assert left == []
    return said


def test_a_delta_leaves_the_tablespaces_of_a_running_server_and_of_other_versions_alone(
    stage_of,
) -> None:
    """A copy has the links of the first."""
    stage = stage_of(mode="local", stream="false")
    space = give(stage.site.top / "space")
    stage.cluster.sql(f"create tablespace fast location '{space}'")
    stage.cluster.sql("create table load tablespace fast as select generate_series(1, 100) id")
    stage.site.run("backup")
    stage.cluster.stop()
    copy = stage.site.top / "copy"
    subprocess.run(["cp", "-a", stage.cluster.data, copy], check=True)
    stage.cluster.up()
    stage.cluster.sql("insert into load select generate_series(101, 5000)")
    stage.cluster.sql("checkpoint")
    before = content(space), content(copy)
    said = stage.site.run("restore", "orders", "--to", copy, "--delta", code=9).stderr
    assert f"has its tablespace in {space}, and so has the server that runs in" in said
    assert str(stage.cluster.data) in said
    assert (content(space), content(copy)) == before
    assert stage.cluster.sql("select count(*) from load") == [(5000,)]

    stage.cluster.stop()
    older = space / "PG_14_202107181/5"  # of another version, which may share the place
    older.mkdir(parents=True)
    (older / "1").write_text("of a cluster that pg_upgrade left")
    left_over = next(space.glob("PG_15*/*")) / "left-over"
    left_over.write_text("of this one, and of no snapshot")
    linked = stage.site.top / "linked"  # a copy, as careful people make one before
    subprocess.run(["cp", "-al", stage.cluster.data / "base", linked], check=True)
    before = content(linked)
    said = delta_over_junk(stage)
    assert content(linked) == before
    assert (older / "1").is_file()
    assert not left_over.exists()
    assert f"is written over, too, in {space}" in said
    with standing(stage.cluster.data, stage.site.top / "up") as back:
        assert back.sql("select count(*) from load") == [(100,)]
