"""Whose snapshots go on with whose: a machine that was replaced, and two with one plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drctl.errors import UsageError
from drctl.model import Snapshot
from drctl.repository import lines
from drctl.repository.catalog import Catalog, pick
from drctl.repository.retention import Rule, judge


def snapshots(hosts: str, asset: str = "conf") -> list[Snapshot]:
    """One a letter, oldest first; the letter is the host."""
    return [
        Snapshot(f"{n:063x}{host}", asset, "files", host, n * 10**9, 0, 0, 1, 1, 1, 0)
        for n, host in enumerate(hosts, 1)
    ]


def of(line: tuple[Snapshot, ...]) -> str:
    return "".join(s.host for s in line)


def test_a_host_goes_on_with_what_the_ones_before_it_left() -> None:
    assert of(lines.line(snapshots("aabb"), "b")) == "aabb"
    assert of(lines.line(snapshots("aabbc"), "c")) == "aabbc"
    assert of(lines.line(snapshots("aabb"), "new")) == "aabb"


def test_a_host_has_its_own_alone_where_another_saves_too() -> None:
    assert of(lines.line(snapshots("aabb"), "a")) == "aa"
    assert of(lines.line(snapshots("abab"), "b")) == "bb"
    assert of(lines.line(snapshots("abbabc"), "c")) == "c"
    assert lines.line(snapshots("aba"), "new") == ()


def test_the_newest_are_those_that_nobody_took_over() -> None:
    assert [s.host for s in lines.newest(snapshots("aabb"))] == ["b"]
    assert sorted(s.host for s in lines.newest(snapshots("aba"))) == ["a", "b"]


@given(st.text("abc", max_size=12), st.sampled_from("abcd"))
def test_no_host_ever_loses_sight_of_its_own(hosts: str, host: str) -> None:
    line = lines.line(snapshots(hosts), host)
    assert [s for s in line if s.host == host] == [s for s in snapshots(hosts) if s.host == host]
    if host in hosts:
        assert line[-1].host == host


@given(st.text("ab", min_size=1, max_size=12), st.integers(1, 3))
def test_one_host_never_pushes_the_snapshots_of_another_out(hosts: str, last: int) -> None:
    kept = [v.snapshot.host for v in judge(snapshots(hosts), Rule(last=last), {}) if v.stays]
    for host in "ab":
        assert kept.count(host) == min(last, hosts.count(host))


def test_the_newest_of_an_asset_is_the_newest_of_this_host() -> None:
    catalog = Catalog(tuple(snapshots("abb")), ())
    assert pick(catalog, "conf", None, (), "a").host == "a"
    assert pick(catalog, "conf@b", None, (), "a").host == "b"
    assert pick(catalog, "conf@a", None, (), "b").host == "a"
    assert pick(catalog, "conf", None, (), "new").host == "b"
    assert pick(catalog, "conf", 1 * 10**9, (), "b").host == "a"


def test_a_machine_that_stands_in_nobodys_place_is_asked_whose_it_means() -> None:
    catalog = Catalog(tuple(snapshots("aba")), ())
    with pytest.raises(UsageError) as refused:
        pick(catalog, "conf", None, (), "new")
    assert "conf is saved by 2 hosts, a, b, and this one, new, is none of them" in str(
        refused.value
    )
    assert "'conf@b'" in refused.value.hint
