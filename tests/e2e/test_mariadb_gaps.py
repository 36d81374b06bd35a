"""A log of MariaDB's that lacks something: it is told, and never gives wrong data."""

import time

from mariadb_servers import ids
from mariadb_streams import position, restored, stored_sizes, streaming


def purge(maria) -> None:
    """All but the newest, once the server has noticed that nobody follows it."""
    deadline = time.monotonic() + 60
    while len(maria.ask("show binary logs")) > 1:
        maria.ask("purge binary logs to %s", position(maria)[0])
        assert time.monotonic() < deadline


def test_a_purged_binlog_is_a_gap_that_is_told_and_a_new_base_closes(kept, maria, writer) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        stream.wait_until_stored(*position(maria))
    writer.wait_for(20)
    for _ in range(3):
        maria.ask("flush binary logs")
        writer.wait_for(5)
    purge(maria)
    with streaming(kept) as stream:
        stream.wait_for("take a new base")
        assert "the log has a gap: binlog.00000" in stream.said
        writer.wait_for(20)
        stream.wait_until_stored(*position(maria))
        done = kept.run("restore", "shop", "--to", "never", code=5)
        assert "the log has a gap" in done.stderr
        assert "take a new base" in done.stderr
        _, found = restored(kept, "--until", "immediate")
        with found as up:
            assert up.health().ok
        kept.run("backup")
        writer.end()
        stream.wait_until_stored(*position(maria))
    _, found = restored(kept)
    with found as up:
        assert len(ids(up)) == len(writer.done_ns)


def test_a_gap_before_the_newest_file_alone_is_never_the_end_of_the_log(kept, maria) -> None:
    """The rest of a file was purged, and exactly one file follows, which the stream has not
    finished."""
    maria.ask("create database own")
    maria.ask("create table own.t (id int primary key)")
    kept.json("backup")
    maria.ask("insert into own.t values (1)")
    file, at = position(maria)
    ((before,),) = maria.ask("select @@gtid_binlog_pos")  # the stream's own marker may come last
    with streaming(kept) as stream:
        stream.wait_until_stored(file, at)
    maria.ask("insert into own.t values (2)")
    ((lost,),) = maria.ask("select @@gtid_binlog_pos")
    maria.ask("flush binary logs")
    purge(maria)
    with streaming(kept) as stream:
        stream.wait_for("take a new base")
        maria.ask("insert into own.t values (3)")
        stream.wait_until_stored(*position(maria))
    for to, *words in (("never",), ("neither", "--until", f"gtid:{lost}")):
        done = kept.run("restore", "shop", "--to", to, *words, code=5)
        assert f"the log has a gap: {file} is there up to byte" in done.stderr
        assert not (kept.top / to).exists()
    _, found = restored(kept, "--until", f"gtid:{before}")
    with found as up:
        assert up.query("select max(id) from own.t") == (("1",),)
    assert f"{file} is not whole" in kept.run("status", code=10).stdout.replace("\n    ", " ")
    assert f"{file} is not whole" in kept.run("verify", code=6).stderr
    kept.json("backup")
    kept.run("verify")
    _, found = restored(kept, "--until", f"gtid:{before}")  # from the snapshot that leads there
    with found as up:
        assert up.query("select max(id) from own.t") == (("1",),)


def test_a_log_that_lacks_a_piece_or_has_a_damaged_one_never_gives_wrong_data(
    kept, maria, writer
) -> None:
    kept.json("backup")
    with streaming(kept) as stream:
        for _ in range(2):
            writer.wait_for(20)
            maria.ask("flush binary logs")
        writer.end()
        stream.wait_until_stored(*position(maria))
    names = sorted(stored_sizes(kept))
    middle = next((kept.top / "local/log").glob(f"*/{names[-2]}.*"))
    (piece,) = middle.iterdir()
    data = piece.read_bytes()
    piece.chmod(0o600)
    piece.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert names[-2] in kept.run("restore", "shop", "--to", "damaged", code=6).stderr
    piece.write_bytes(data[: len(data) // 2])
    kept.run("restore", "shop", "--to", "cut", code=6)
    piece.unlink()
    middle.rmdir()
    done = kept.run("restore", "shop", "--to", "lacking", code=5)
    assert f"the log has a gap: {names[-2]} is missing" in done.stderr
