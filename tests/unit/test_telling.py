"""Of what is as bad as it was people hear once in a while, and at once of anything else."""

from types import SimpleNamespace
from typing import Any

from drctl.cli.ended import Ended
from drctl.ops.telling import Told, is_news, known_now

AGAIN = 3600.0
SECOND = 10**9


def ended(document: dict[str, Any], command: str = "backup") -> Ended:
    wiring: Any = SimpleNamespace(lapsed=dict)
    return Ended(wiring, command, "", 11, 0, 1.0, "", "", document)


def test_another_reason_is_told_though_the_exit_code_is_the_same() -> None:
    behind = Told("failure", 11, 0, ("off is behind",))
    both = Told("failure", 11, SECOND, ("off is behind", "tree is SUSPECT"))
    assert is_news(both, behind, AGAIN)
    assert not is_news(Told("failure", 11, SECOND, behind.about), behind, AGAIN)
    alone = Told("failure", 11, 2 * SECOND, ("tree is SUSPECT",))
    known = known_now(alone, behind, AGAIN)
    assert known.about == both.about
    assert not is_news(Told("failure", 11, 3 * SECOND, behind.about), known, AGAIN)
    later = Told("failure", 11, 3602 * SECOND, behind.about)
    assert is_news(later, known, AGAIN)
    assert known_now(later, known, AGAIN) == later


def test_what_only_its_figures_or_its_words_tell_apart_is_no_other_reason() -> None:
    def at(hours: int, why: str) -> Ended:
        return ended({
            "wrong": [f"evidence {hours} of far is missing"],
            "copies_behind": {"off2": f"{why} after {hours}h"},
            "failed": {"db1": {"what": f"port {hours} is silent"}},
            "to_do": [{"what": "drill far: failed"}],
        })  # fmt: skip

    told = at(1, "refused").about()
    assert told == at(20, "timed out").about()
    assert told == ["db1", "drill far: failed", "evidence of far is missing", "off2 is behind"]
    damaged = ended({"wrong": ["data/0a: damaged: 3 of 4"]}, "verify")
    assert damaged.about() == ["data/0a: damaged: 3 of 4"]
