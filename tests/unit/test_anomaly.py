"""The anomaly guard: what is far from an asset's history is told, what is ordinary is not."""

from msgspec.structs import replace

from drctl.model import Snapshot
from drctl.ops.anomaly import ANOMALY, SINCE, Past, carried
from drctl.ops.anomaly import judge as judge_after

MIB = 1 << 20


def snapshot(number: int, **more: int | str) -> Snapshot:
    """A tree of 1000 entries and 100 MiB, of which a hundredth changes each time."""
    told = {"entries": 1000, "size": 100 * MIB, "added": MIB // 2, "read": 2 * MIB}
    told |= {"new": 2, "changed": 8, "removed": 1, **more}
    facts = {
        "entries_new": str(told["new"]),
        "entries_changed": str(told["changed"]),
        "entries_removed": str(told["removed"]),
        "read_bytes": str(told["read"]),
    }
    if "things" in more:
        facts["things"] = str(more["things"])
    if "anomaly" in more:
        facts[ANOMALY] = str(more["anomaly"])
    numbers = (int(told["entries"]), int(told["size"]), int(told["added"]), 0)
    return Snapshot(f"{number:064x}", "a", "files", "host", number, 0, 0, *numbers, facts=facts)


def judge(made: Snapshot, before: list[Snapshot]) -> str:
    """Each that was flagged carries what it has to."""
    past: list[Snapshot] = []
    for one in before:
        more = carried(one, Past(past)) if ANOMALY in one.facts else {}
        past.append(replace(one, facts={**one.facts, **more}))
    return judge_after(made, Past(past))


HISTORY = [snapshot(0, new=1000, changed=0, read=100 * MIB, added=30 * MIB)]
HISTORY += [snapshot(n, changed=8 + n % 3) for n in range(1, 8)]


def test_an_ordinary_run_is_not_flagged() -> None:
    assert judge(snapshot(9), HISTORY) == ""
    assert judge(snapshot(9, size=130 * MIB, added=10 * MIB, read=32 * MIB), HISTORY) == ""


def test_what_encrypts_everything_is_flagged_by_change_and_by_how_it_compresses() -> None:
    told = judge(snapshot(9, changed=990, read=100 * MIB, added=100 * MIB), HISTORY)
    assert "992 of 1000 entries are new or changed" in told
    assert "no longer compresses (to 100%" in told
    assert "had to be stored anew" in told


def test_a_mass_deletion_is_flagged() -> None:
    told = judge(snapshot(9, entries=400, size=40 * MIB, removed=600, new=0, changed=3), HISTORY)
    assert "600 of 1000 entries are gone" in told
    assert "its size fell: 100.0 MiB became 40.0 MiB" in told


def test_a_jump_in_size_is_flagged_and_steady_growth_is_not() -> None:
    assert "its size jumped" in judge(snapshot(9, size=300 * MIB), HISTORY)
    growing = [snapshot(n, size=round(100 * MIB * 1.2**n)) for n in range(12)]
    assert judge(snapshot(12, size=round(100 * MIB * 1.2**12)), growing) == ""


def test_what_happened_before_is_not_flagged_again() -> None:
    rewritten = snapshot(8, changed=900, read=90 * MIB, added=60 * MIB)
    assert judge(rewritten, HISTORY)
    assert (
        judge(snapshot(10, changed=900, read=90 * MIB, added=60 * MIB), [*HISTORY, rewritten]) == ""
    )


def test_a_run_that_remembers_nothing_and_a_short_history_say_nothing() -> None:
    fresh = snapshot(9, new=1000, changed=0, removed=0, read=100 * MIB, added=30 * MIB)
    assert judge(fresh, HISTORY) == ""
    assert judge(snapshot(9, entries=1, size=1), HISTORY[:4]) == ""


def test_what_follows_a_flagged_run_is_flagged_until_one_is_accepted() -> None:
    bad = snapshot(8, anomaly="600 of 1000 entries are gone", entries=400, size=40 * MIB)
    less = {"entries": 400, "size": 40 * MIB}
    after = judge(snapshot(9, **less), [*HISTORY, bad])
    assert after == "since 00000000 nobody has accepted: 600 of 1000 entries are gone"
    assert judge(snapshot(10, **less), [*HISTORY, bad, snapshot(9, anomaly=after, **less)]) == after
    assert judge(snapshot(10, **less), [*HISTORY, bad, snapshot(9, **less)]) == ""


def test_what_holds_nothing_is_flagged_whatever_the_history() -> None:
    empty = {"things": 0, "entries": 1, "size": 0, "added": 0, "read": 0}
    assert "it holds nothing; 00000000 held 100.0 MiB" in judge(snapshot(2, **empty), HISTORY[:1])
    assert "it holds nothing: a disk may not be mounted" in judge(snapshot(1, **empty), [])
    flagged = snapshot(2, anomaly="it holds nothing", **empty)
    assert "it holds nothing; " in judge(snapshot(3, **empty), [HISTORY[0], flagged])
    assert judge(snapshot(3, **empty), [HISTORY[0], snapshot(2, **empty)]) == ""  # was accepted


def test_what_is_back_at_what_it_was_is_not_flagged() -> None:
    gone = snapshot(8, anomaly="it holds nothing", things=0, entries=1, size=0, added=0, read=0)
    back = snapshot(9, new=1000, changed=0, removed=0, read=100 * MIB, added=10_000)
    assert judge(back, [*HISTORY, gone]) == ""
    grown = snapshot(8, anomaly="its size jumped", entries=1001, size=300 * MIB, added=200 * MIB)
    assert judge(snapshot(9), [*HISTORY, grown]) == ""


def test_what_was_written_over_since_the_last_good_one_is_not_back() -> None:
    told = "since 00000000 nobody has accepted: 992 of 1000 entries are new or changed"
    encrypted = snapshot(
        8, anomaly="992 of 1000 entries are new or changed", changed=990, added=100 * MIB
    )
    assert judge(snapshot(9), [*HISTORY, encrypted]) == told
    grown = {"entries": 2000, "size": 300 * MIB, "added": 200 * MIB}
    hidden = snapshot(8, anomaly="its size jumped", changed=900, **grown)
    assert "nobody has accepted" in judge(snapshot(9), [*HISTORY, hidden])
    later = snapshot(
        9, changed=990, added=90 * MIB, anomaly="since 00000000 nobody has accepted: x"
    )
    jumped = snapshot(8, anomaly="its size jumped", size=300 * MIB, added=200 * MIB)
    assert "nobody has accepted" in judge(snapshot(10), [*HISTORY, jumped, later])


def test_what_was_stored_since_is_told_by_the_flagged_ones_whatever_was_removed() -> None:
    flagged = snapshot(9, anomaly="since 00000000 nobody has accepted: x", changed=0, added=0)
    full, less = f"00000000 1000 {100 * MIB} {90 * MIB}", f"00000000 1000 {100 * MIB} {MIB}"

    def told(facts: dict[str, str]) -> str:
        last = replace(flagged, facts={**flagged.facts, **facts})
        return judge_after(snapshot(10), Past([*HISTORY, last]))

    assert "nobody has accepted" in told({SINCE: full})
    assert told({SINCE: less}) == ""
    assert "nobody has accepted" in told({})  # as older versions flagged
    assert "nobody has accepted" in told({SINCE: "somebody wrote there"})


def test_a_run_whose_memory_is_of_a_snapshot_that_is_gone_is_flagged() -> None:
    told = judge_after(snapshot(9), Past(HISTORY, "f" * 64))
    assert "the snapshot before it, ffffffff, was removed, so nobody can tell" in told
    assert not carried(snapshot(9), Past(HISTORY, "f" * 64))


def test_another_cluster_under_the_name_is_flagged_until_it_is_accepted() -> None:
    def of(number: int, system: str, version: str = "150018", anomaly: str = "") -> Snapshot:
        made = snapshot(number, changed=990, **({"anomaly": anomaly} if anomaly else {}))
        return replace(made, facts={**made.facts, "system_id": system, "postgresql": version})

    mine = [replace(s, facts={**s.facts, "system_id": "7"}) for s in HISTORY]
    told = judge(of(9, "8"), mine)
    assert "another cluster, with system identifier 8: 00000000 is of 7" in told
    assert judge(of(9, "8"), mine[:1]) == told, "whatever the history"
    other = of(9, "8", anomaly=told)
    assert "another cluster" in judge(of(10, "8"), [*mine, other])
    assert judge(of(10, "7"), [*mine, other]) == "", "the right one is back"
    accepted = of(9, "8")
    assert judge(of(10, "8"), [*mine, accepted]) == ""
    assert "another cluster" in judge(of(10, "7"), [*mine, accepted])
    upgraded = [replace(s, facts={**s.facts, "postgresql": "150018"}) for s in mine]
    assert judge(of(9, "8", "160001"), upgraded) == "", "as by pg_upgrade"
