"""The rules of retention: what stays, why, and that no rule removes the last good snapshot."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from drctl.model import Snapshot
from drctl.repository.retention import Rule, is_good, judge

HOUR = 3600
T0 = 1_767_225_600  # 2026-01-01, a Thursday


def snapshot(hours: float, asset: str = "a", **more: object) -> Snapshot:
    at_ns = round((T0 + hours * HOUR) * 1e9)
    base = Snapshot(f"{asset}-{hours}", asset, "files", "host", at_ns, at_ns, at_ns, 1, 1, 1, 0)
    return replace(base, **more)  # type: ignore[arg-type]


def kept(snapshots: list[Snapshot], rule: Rule | None, **held: str) -> dict[str, list[str]]:
    return {v.snapshot.name: v.reasons for v in judge(snapshots, rule, held) if v.stays}


def test_without_a_rule_all_stay() -> None:
    assert len(kept([snapshot(i) for i in range(5)], None)) == 5


def test_an_empty_rule_keeps_the_newest_of_each_asset() -> None:
    found = [snapshot(1), snapshot(2), snapshot(1, "b"), snapshot(0, "b")]
    assert kept(found, Rule()) == {"a-2": ["newest"], "b-1": ["newest"]}


def test_each_reason_is_told() -> None:
    found = [snapshot(h) for h in (0, 1, 23.5, 24, 24.5)]
    told = kept(found, Rule(last=2, daily=2, hourly=1))
    assert told == {
        "a-23.5": ["daily 2026-01-01"],
        "a-24": ["last 2"],
        "a-24.5": ["newest", "last 1", "hourly 2026-01-02 00h", "daily 2026-01-02"],
    }


def test_empty_periods_do_not_count() -> None:
    found = [snapshot(0), snapshot(24 * 40), snapshot(24 * 400)]
    assert len(kept(found, Rule(daily=3))) == 3
    assert len(kept(found, Rule(yearly=2))) == 2


def test_within_counts_from_the_newest_not_from_now() -> None:
    found = [snapshot(0), snapshot(5), snapshot(9), snapshot(10)]
    assert set(kept(found, Rule(within_seconds=5 * HOUR + 1))) == {"a-5", "a-9", "a-10"}


def test_tags_and_holds_win() -> None:
    found = [snapshot(0, tags=("release",)), snapshot(1), snapshot(2), snapshot(3)]
    told = kept(found, Rule(tags=frozenset({"release"})), **{"a-1": "for the auditor"})
    assert told == {"a-0": ["tag release"], "a-1": ["held: for the auditor"], "a-3": ["newest"]}


def test_suspect_and_partial_snapshots_push_no_good_one_out() -> None:
    bad = [snapshot(h, facts={"anomaly": "half of it is gone"}) for h in (3, 4, 5)]
    found = [snapshot(0), snapshot(1), snapshot(2, problems=3), *bad]
    told = kept(found, Rule(last=2))
    assert {"a-0", "a-1", "a-4", "a-5"} == set(told)
    assert told["a-1"] == ["newest of the good", "last 1 of the good"]


RULES = st.builds(
    Rule,
    last=st.integers(0, 4),
    hourly=st.integers(0, 4),
    daily=st.integers(0, 4),
    weekly=st.integers(0, 3),
    within_seconds=st.sampled_from([0.0, HOUR, 48 * HOUR]),
)
HISTORIES = st.lists(
    st.tuples(st.integers(0, 2000), st.booleans()), max_size=40, unique_by=lambda t: t[0]
)


@given(HISTORIES, RULES)
def test_what_is_bad_changes_nothing_for_the_good(
    history: list[tuple[int, bool]], rule: Rule
) -> None:
    found = [snapshot(h, problems=0 if good else 1) for h, good in history]
    alone = kept([s for s in found if is_good(s)], rule)
    assert alone.keys() <= kept(found, rule).keys()


@given(HISTORIES, RULES)
def test_pruning_twice_removes_nothing_more(history: list[tuple[int, bool]], rule: Rule) -> None:
    found = [snapshot(h, problems=0 if good else 1) for h, good in history]
    once = kept(found, rule)
    twice = kept([s for s in found if s.name in once], rule)
    assert twice.keys() == once.keys()
