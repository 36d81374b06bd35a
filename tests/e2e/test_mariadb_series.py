"""Binlogs that were begun anew, and those whose numbers run over: which belong to which base."""

import signal
import tempfile
import time

import pytest
from mariadb_servers import standing
from mariadb_streams import log_of, position, reach_of, restored, series_of, streaming

from drctl.engines.base import LATEST
from drctl.engines.mariadb_replay import Position, find_way, refuse_missing
from drctl.errors import StorageError
from drctl.logpieces import by_file

KEEP = "keep: {last: 1, grace: 1ms}"


def rows_of(site, *words: str) -> tuple[str, ...]:
    _, found = restored(site, *words)
    with found as up:
        return tuple(row[0] for row in up.query("select i from own.nokey order by i"))


def test_binlogs_begun_anew_while_they_are_followed_are_never_replayed_onto_another_base(
    kept, maria
) -> None:
    """Names and positions of the new ones are those of the stored ones, and no key keeps rows
    from coming twice."""
    kept.plan((kept.top / "plan.yaml").read_text().replace(", mark_every: 500ms", ""))
    maria.ask("create database own")
    maria.ask("create table own.nokey (i int)")
    maria.ask("reset master")
    with streaming(kept) as stream:
        stream.wait_for("following its log")
        first = kept.json("backup")["snapshots"][0]["id"]
        maria.ask("insert into own.nokey values (1), (2), (3)")
        maria.ask("flush binary logs")
        stream.wait_until_stored(*position(maria))
        before = series_of(kept)
        stream.process.send_signal(signal.SIGSTOP)  # so that the backup is the first to see it
        try:
            maria.ask("reset master")
            done = kept.run("backup")
        finally:
            stream.process.send_signal(signal.SIGCONT)
        assert "do not continue what is stored" in done.stderr
        stream.wait_for("begun anew")
        maria.ask("insert into own.nokey values (4)")
        stream.wait_for_another_series(before, position(maria)[1])
    assert rows_of(kept) == ("1", "2", "3", "4")
    assert rows_of(kept, "--until", "immediate") == ("1", "2", "3")
    kept.run("restore", first, "--to", kept.top / "older")
    with standing(kept.top / "older") as up:
        assert len(up.query("select i from own.nokey")) == 3
    kept.run("verify")

    kept.plan((kept.top / "plan.yaml").read_text().replace("path: local", "path: local, " + KEEP))
    collect(kept)
    (old,) = before
    assert {reach_of(path.name)[0] for path in old.iterdir()} == {"binlog.000002"}
    with streaming(kept) as stream:
        maria.ask("insert into own.nokey values (5)")
        stream.wait_until_stored(*position(maria))
    assert stream.said.count("begun anew") == 1, "it goes on with the log that it went on with"
    assert rows_of(kept) == ("1", "2", "3", "4", "5")


def test_binlogs_begun_anew_while_nobody_follows_are_kept_as_a_log_of_their_own(
    kept, maria
) -> None:
    with streaming(kept) as stream:
        maria.ask("flush binary logs")
        stream.wait_until_stored(*position(maria))
    kept.json("backup")
    before = {path: sorted(path.iterdir()) for path in series_of(kept)}
    maria.ask("reset master")
    maria.ask("create database own")
    with streaming(kept) as stream:
        stream.wait_for("take a new base with 'drctl backup shop'")
        stream.wait_for_another_series(set(before), position(maria)[1])
    with streaming(kept) as stream:
        stream.wait_for("following its log", 3)
    assert stream.said.count("were begun anew") == 1
    assert len(series_of(kept)) == 2
    assert all(sorted(path.iterdir()) == pieces for path, pieces in before.items())
    status = " ".join(kept.run("status", code=10).stdout.split())
    assert "the server's binlogs were begun anew since" in status
    assert "were begun anew since" in kept.run("verify", code=6).stderr
    done = kept.run("restore", "shop", "--to", "older")
    assert "take one: drctl backup shop" in done.stderr
    kept.json("backup")
    assert "begun anew" not in kept.run("status").stdout
    kept.run("verify")


def test_a_snapshot_of_another_series_than_the_log_is_refused_before_anything_is_written(
    kept, maria
) -> None:
    """As an older drctl left it: the log of one series under the name of another's base."""
    file, at = position(maria)
    with streaming(kept) as stream:
        stream.wait_until_stored(file, at)
    log = log_of(kept)
    stands = Position(file, at, {}, "0" * 64)
    with pytest.raises(StorageError, match="is not the one that the snapshot was taken in"):
        refuse_missing(stands, log, LATEST)
    older = Position(file, at, {0: (7, 1)})
    with (
        pytest.raises(StorageError, match="is not the one that the snapshot was taken in"),
        tempfile.TemporaryDirectory() as folder,
    ):
        find_way(older, log, LATEST, folder)


def test_a_number_of_seven_digits_comes_after_those_of_six(kept, maria) -> None:
    """By name alone binlog.1000000 stands before binlog.999999, and collection would take it. A
    server that got another id names nothing of its binlog when the base is taken."""
    maria.ask("create database own")
    maria.ask("create table own.nokey (i int)")
    maria.ask("reset master to 999998")
    maria.ask("insert into own.nokey values (1)")
    maria.ask("set global server_id = 9")
    kept.json("backup")
    maria.ask("flush binary logs")
    with streaming(kept) as stream:
        for row in (2, 3, 4):
            maria.ask("insert into own.nokey values (%s)", row)
            stream.wait_until_stored(*position(maria))
            maria.ask("flush binary logs")
        stream.wait_until_stored(*position(maria))
    assert position(maria)[0] == "binlog.1000002"
    assert list(by_file(log_of(kept).pieces())) == [
        "binlog.999998", "binlog.999999", "binlog.1000000", "binlog.1000001", "binlog.1000002"
    ]  # fmt: skip
    maria.ask("insert into own.nokey values (5)")
    with streaming(kept) as stream:  # it goes on where it ended
        stream.wait_until_stored(*position(maria))
    assert "gap" not in stream.said
    kept.plan((kept.top / "plan.yaml").read_text().replace("path: local", "path: local, " + KEEP))
    collect(kept)
    assert rows_of(kept) == ("1", "2", "3", "4", "5")
    assert "GAP" not in kept.run("status").stdout
    kept.json("backup")
    collect(kept)
    kept.run("verify")
    assert list(by_file(log_of(kept).pieces())) == ["binlog.1000002"]


def collect(site) -> None:
    """What goes is marked, then taken."""
    for _ in range(2):
        site.run("prune", "--patience", "1ms")
        time.sleep(0.1)
