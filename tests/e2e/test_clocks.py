"""Writers and collectors whose clocks are a day apart: only the storage's own clock counts."""

import time
from dataclasses import replace

import pytest
from faked import clock

PAUSING = "cat live/big; test -e go || touch ready; while test -e ready; do sleep 0.05; done"
PLAN = f"""\
version: 1
name: test
sites:
  here: {{failure_domain: a}}
repositories:
  local: {{site: here, path: local, keep: {{last: 1, grace: 1h}}}}
keys: {{credential: file:keys/writer.key}}
assets:
  dump:
    command: {{run: [sh, -c, "{PAUSING}"], name: dump}}
"""
A, B = bytes(range(256)) * 8000, b"another\n"


def with_clock(site, offset: str):
    """The same host with a clock of its own."""
    return replace(site, variables={**site.variables, **clock(offset)})


@pytest.fixture
def site(bare):
    bare.plan(PLAN)
    (bare.top / "go").touch()  # no command waits
    bare.run("init")
    return bare


def backed_up(site, content: bytes) -> str:
    (site.top / "live/big").write_bytes(content)
    return site.json("backup")["snapshots"][0]["id"]


def content(site, name: str) -> bytes:
    to = site.top / f"restored-{name}"
    site.run("restore", name, "--to", to)
    return next(p for p in (to, *to.rglob("*")) if p.is_file()).read_bytes()


def prune(site, *words: str):
    return site.json("prune", "--from", "local", *words)["local"]


BOTH_WAYS = pytest.mark.parametrize(("of_writer", "of_collector"), [("+1d", "-1d"), ("-1d", "+1d")])


@BOTH_WAYS
def test_a_run_under_way_loses_nothing_that_it_leans_on(
    site, stop_at_end, of_writer, of_collector
) -> None:
    """The packs of a snapshot that goes meanwhile. Neither its sign nor a mark may look old."""
    writer, collector = with_clock(site, of_writer), with_clock(site, of_collector)
    gone, _ = backed_up(writer, A), backed_up(writer, B)
    (site.top / "live/big").write_bytes(A)
    (site.top / "go").unlink()
    under_way = writer.start("backup", "--json")
    stop_at_end.append(under_way)
    while not (site.top / "ready").exists():
        assert under_way.poll() is None
        time.sleep(0.02)
    assert [v["id"] for v in prune(collector)["removed"]] == [gone]
    assert prune(collector)["deleted"]["objects"] == 0
    assert prune(collector, "--grace", "1ms")["deleted"]["objects"] == 0  # the sign holds it up
    (site.top / "ready").unlink()
    assert under_way.wait(60) == 0
    prune(collector)
    (left,) = site.snapshots()
    assert content(site, left["id"]) == A
    assert site.json("verify", "--read-data", "100")["wrong"] == []


@BOTH_WAYS
def test_what_has_to_go_does_go_and_not_before_its_time(site, of_writer, of_collector) -> None:
    writer, collector = with_clock(site, of_writer), with_clock(site, of_collector)
    backed_up(writer, A)
    kept = backed_up(writer, B)
    prune(collector)
    assert prune(collector)["deleted"]["objects"] == 0  # within the hour
    time.sleep(1.5)
    assert prune(collector, "--grace", "1s")["deleted"]["size_bytes"] > 0
    assert content(site, kept) == B
    assert site.json("verify", "--read-data", "100")["wrong"] == []


def test_snapshots_of_a_clock_that_was_ahead_push_out_none_of_today(site) -> None:
    ahead = backed_up(with_clock(site, "+1d"), A)
    today = backed_up(site, B)
    assert prune(with_clock(site, "-1d"))["removed"] == []
    assert {s["id"] for s in site.snapshots()} == {ahead, today}
    newer = backed_up(site, A)
    prune(with_clock(site, "+1d"))
    assert {s["id"] for s in site.snapshots()} == {ahead, newer}


def test_of_a_clock_that_was_ahead_the_snapshot_stored_last_is_restored(site) -> None:
    """And nobody has to find out alone why there is one of a day to come."""
    ahead = backed_up(with_clock(site, "+3d"), A)
    told = site.json("restore", "dump", "--to", site.top / "only")
    assert told["snapshot"]["id"] == ahead
    newer = backed_up(site, B)
    done = site.run("restore", "dump", "--to", site.top / "back")
    assert (site.top / "back").read_bytes() == B
    assert ahead[:8] in done.stderr
    assert newer[:8] in done.stderr
    assert "was ahead" in done.stderr
    assert [s["id"] for s in site.snapshots()] == [ahead, newer]
    assert content(site, ahead) == A


def test_a_snapshot_that_is_yet_to_come_by_every_clock_but_this_one_is_told(site) -> None:
    """The storage was on the machine whose clock was ahead, so its own clock tells nothing."""
    older, newer = backed_up(with_clock(site, "-5d"), A), backed_up(site, B)
    behind = with_clock(site, "-3d")
    told = behind.run("ls", "dump").stderr
    assert f"{newer[:8]}, of " in told
    assert "yet to come" in told
    assert f"the newest that is not: {older[:8]}" in told
    assert newer[:8] not in site.run("ls", "dump").stderr
