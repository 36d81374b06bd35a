"""What a plan says of recovery: every mistake with its place, every finding with its remedy."""

import re

import pytest

from drctl.cli.steps import steps_of
from drctl.plan.tested import source_of
from drctl.plan.tested import tested as digest
from drctl.report.evidence import Proof, make
from drctl.report.readiness import Basis, gate
from drctl.report.signers import Keys

STEPS = """\
recovery:
  parameters: {zone: example.com}
  steps:
    fence: {run: [./fence, "${zone}"], when: [failover]}
    tree: {restore: tree, after: [fence]}
    app: {run: [./start], undo: [./stop], after: [tree]}
    well: {check: {http: "http://127.0.0.1/", expect: 200}, after: [app]}
checks:
  - {asset: tree, compare: manifest}
drills:
  far: {from: offsite, deny_sites: [here], pick: {random_within: 14d}}
evidence: {key: "file:keys/evidence.key"}
"""


@pytest.fixture
def whole(good) -> str:
    """Steps begin on line 14."""
    return good.replace("{rpo: 2h}", "{rpo: 2h, rto: 1h, drill_every: 30d}") + STEPS


def test_a_whole_plan_has_no_mistake_and_no_finding(mistakes, findings, whole) -> None:
    assert mistakes(whole) == []
    assert findings(whole) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "after: [fence]",
            "after: [app]",
            (
                "18: recovery.steps.tree.after: "
                "these steps wait for each other for ever: tree -> app -> tree"
            ),
        ),
        (
            "after: [tree]",
            "after: [trie]",
            "19: recovery.steps.app.after[0]: no step 'trie'; steps: fence, tree, app, well",
        ),
        (
            "restore: tree",
            "restore: trees",
            "18: recovery.steps.tree.restore: no asset 'trees'; assets: tree",
        ),
        (
            "run: [./start]",
            "run: [./start], wait: 1s",
            (
                "19: recovery.steps.app: one of restore, run, check, approval, wait, notify is "
                "wanted; not 2: run, wait"
            ),
        ),
        (
            "${zone}",
            "${zome}",
            "17: recovery.steps.fence.run[1]: no parameter 'zome'; parameters: zone",
        ),
        (
            "{asset: tree, compare: manifest}",
            "{asset: tree, compare: manifest, sql: select 1}",
            (
                "22: checks[0]: one of sql, http, command, integrity, compare is wanted; "
                "not 2: sql, compare"
            ),
        ),
        (
            ", expect: 200",
            "",
            "20: recovery.steps.well.check.http: say with 'expect' what must be found",
        ),
        (
            "deny_sites: [here]",
            "deny_sites: [there]",
            "24: drills.far.deny_sites[0]: 'offsite' stands there, which the drill restores from",
        ),
        (
            "expect: 200",
            "expect: {mn: 1}",
            "20: recovery.steps.well.check.expect: unknown key 'mn'; did you mean 'min'?",
        ),
        (
            "expect: 200",
            "expect: {}",
            (
                "20: recovery.steps.well.check.expect: it expects nothing: a check that cannot "
                "fail proves nothing"
            ),
        ),
        (
            "restore: tree, after: [fence]",
            "restore: tree, undo: [./x], after: [fence]",
            "18: recovery.steps.tree.undo: only a step with 'run' can be undone",
        ),
        (
            'check: {http: "http://127.0.0.1/", expect: 200}, after: [app]',
            "check: {asset: tree, compare: manifest}",
            "20: recovery.steps.well: it looks at 'tree' and does not wait for 'tree': 'after'",
        ),
    ],
)
def test_a_mistake_is_told_at_its_place(mistakes, whole, before, after, told) -> None:
    assert before in whole
    found = mistakes(whole.replace(before, after))
    by_line = [re.sub(r"^(\d+):\d+: ", r"\1: ", line) for line in found]
    assert told in by_line, found


@pytest.mark.parametrize(
    ("place", "after", "told"),
    [
        ("./new/", "[tree]", "'tree' puts its asset there: each needs a place of its own"),
        ("new/db", "[fence]", "it lies in what 'tree' puts back and does not wait for it: 'after'"),
        ("new/db", "[app]", ""),
        ("new-er", "[fence]", ""),
    ],
)
def test_no_restore_may_remove_what_another_one_put_back(
    mistakes, whole, place, after, told
) -> None:
    both = whole.replace("restore: tree,", "restore: tree, to: new,").replace(
        "    app:", f"    base: {{restore: tree, to: {place}, after: {after}}}\n    app:"
    )
    found = [line for line in mistakes(both) if "steps.base.to" in line]
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_restores_that_no_recovery_has_both_of_may_lie_in_one_place(mistakes, whole) -> None:
    apart = whole.replace("restore: tree,", "restore: tree, to: new, when: [planned],")
    for when, is_refused in (("failover", False), ("failover, planned", True)):
        step = f"    base: {{restore: tree, to: new, when: [{when}], after: [fence]}}\n"
        found = mistakes(apart.replace("    app:", f"{step}    app:"))
        assert any("steps.base.to" in line for line in found) == is_refused


def test_a_place_may_begin_with_a_parameter_and_not_with_a_shell_s_variable(
    mistakes, whole
) -> None:
    assert mistakes(whole.replace("restore: tree,", 'restore: tree, to: "${zone}/t",')) == []
    (found,) = mistakes(whole.replace("restore: tree,", 'restore: tree, to: "$HOME/t",'))
    assert "variables mean nothing here" in found


def test_an_asset_is_restored_once(mistakes, whole) -> None:
    twice = whole.replace("    app:", "    again: {restore: tree, after: [fence]}\n    app:")
    assert any("'tree' restores 'tree' already" in line for line in mistakes(twice))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("checks:\n  - {asset: tree, compare: manifest}\n", "", "no check looks at it"),
        ('evidence: {key: "file:keys/evidence.key"}\n', "", "is not signed"),
        (", drill_every: 30d", "", "nobody is told when one is overdue"),
        ("{from: offsite, deny_sites: [here],", "{from: local,", "it stands where the data is"),
        ("    well:", "    ask: {approval: boss}\n    well:", "nothing waits for it"),
        ("    well:", "    ask: {approval: boss, when: [drill]}\n    well:", "nobody is asked"),
        (
            "    well:",
            "    ask: {approval: boss, when: [planned]}\n    well:",
            "without an answer within 1h it has failed: give it a 'timeout'",
        ),
        ("restore: tree, after", "wait: 1s, after", "no step of 'recovery' brings it back"),
    ],
)
def test_what_recovery_forbids_is_found(findings, whole, before, after, told) -> None:
    assert before in whole
    assert any(told in line for line in findings(whole.replace(before, after)))


def test_a_wait_is_not_ended_by_the_time_that_steps_are_given(load, whole) -> None:
    plan = load(whole.replace("    well:", "    pause: {wait: 2h, after: [app]}\n    well:")).plan
    assert plan.recovery.defaults.timeout == "1h"
    assert steps_of(plan, "drill", {}, {})["pause"].timeout_seconds > 2 * 3600


def test_a_drill_that_would_restore_from_elsewhere_is_another_drill(load, whole) -> None:
    """A copy that is new, and stands before the one that was drilled from. What an older drctl kept
    of the drill counts as before: it names the repository, too."""
    nearer = "  nearer: {site: there, path: nearer, copy_of: local}\n"
    unsaid = whole.replace("from: offsite, ", "")
    for text, is_another in ((whole, False), (unsaid, True)):
        before = load(text).plan
        after = load(text.replace("  offsite:", f"{nearer}  offsite:", 1)).plan
        proof = drilled(digest(before, "far"), source_of(before, before.drills["far"]))
        basis = Basis(
            "of the file now", digest(after, "far"), source_of(after, after.drills["far"])
        )
        judged = gate("far", [proof], Keys(None), basis, None, 0)
        assert any("the repository that" in fault for fault in judged.faults) == is_another


def drilled(judged_by: str, source: str) -> Proof:
    found = {
        "plan": {"name": "shop", "sha256": "of the file then", "tested_sha256": judged_by},
        "drill": "far",
        "verdict": "passed",
        "finished_at": "1970-01-01T00:00:00Z",
        "timing": {"machine_seconds": 1.0, "human_seconds": 0.0, "rta_seconds": 1.0},
        "snapshots": [],
        "repository": {"name": source},
    }
    return make(found, None, None)
