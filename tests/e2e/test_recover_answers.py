"""What is said to a recovery from other terminals: it counts, or whoever said it is told."""

from recoverable import PLAN

from drctl.clock import SystemClock
from drctl.ops.recovery import runs

ASKING = PLAN.replace(
    "    base: {restore: base, after: [fence]}\n",
    "    ask: {approval: oncall, after: [fence], timeout: 1h}\n"
    "    base: {restore: base, after: [fence, ask]}\n",
)


def begun(site, name: str = "1-a", **more: str) -> runs.Run:
    """A recovery that waits for its approval, as another terminal has it."""
    order = {"mode": "failover", "declared_ns": 1, "parameters": {}, "plan_sha256": "", **more}
    run = runs.begin(str(site.top / "state/recoveries/shop"), name, order, SystemClock())
    run.journal.append("declared", mode="failover")
    return run


def test_an_answer_that_changes_nothing_is_refused(bare) -> None:
    bare.plan(ASKING)
    run = begun(bare)
    said = bare.run("recover", "--approve", "ask", "--by", "Ann").stdout
    assert "ask: approved by Ann, in the recovery (failover)" in said
    assert "it was not asked for yet" in said
    run.journal.append("started", step="ask")
    written = run.journal.events()
    said = bare.run("recover", "--refuse", "ask", "--by", "Bob", code=2).stderr
    assert "approved by Ann already" in said
    assert "drctl recover --cancel --by NAME" in said
    assert "Eve is not recorded" in bare.run("recover", "--approve", "ask", "--by", "Eve").stdout
    assert run.journal.events() == written
    run.journal.append("cancelled", by="Cid")
    said = bare.run("recover", "--approve", "ask", "--by", "Ann", code=2).stderr
    assert "was cancelled by Cid" in said
    late = begun(bare, "2-b")
    late.journal.append("started", step="ask")
    late.journal.append("over", step="ask", ok=False, what="it did not end within 1h")
    said = bare.run("recover", "--refuse", "ask", "--by", "Bob", code=2).stderr
    assert "it did not end within 1h; yours changes nothing" in said


def test_another_plan_of_the_same_name_has_recoveries_of_its_own(bare, new_site) -> None:
    bare.plan(ASKING)
    begun(bare)
    assert "failover declared" in bare.run("recover", "--watch").stdout
    (bare.top / "staging").mkdir()
    staging = new_site(bare.top / "staging")
    staging.variables["DRCTL_STATE_DIR"] = str(bare.top / "state")
    staging.plan(ASKING)
    said = staging.run("recover", "--approve", "ask", "--by", "Intern", code=2).stderr
    assert f"this host knows another plan 'shop', {bare.top}/plan.yaml" in said
    assert "there is no recovery here" in said
    staging.run("recover", "--cancel", "--by", "Intern", code=2)
    assert "cancelled by Ann" in bare.run("recover", "--cancel", "--by", "Ann").stdout
