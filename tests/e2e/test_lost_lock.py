"""A plan that lost its `lock` writes beside what is locked: somebody must be told, by every run."""

import pytest
from servers import ACCESS_KEY, SECRET_KEY

PLACE = """\
    site: there
    s3: {{bucket: {bucket}, endpoint: "{endpoint}",
         credentials: {{access_key: "env:DR_ACCESS", secret_key: "env:DR_SECRET"}}}}
"""
FIRST = "repositories:\n  offsite:\n" + PLACE
COPY = (
    "repositories:\n  local: {{site: here, path: local}}\n  offsite:\n    copy_of: local\n" + PLACE
)
LOCK = "    lock: {mode: governance, for: 1h}\n"
PLAN = """\
version: 1
name: test
sites: {{here: {{failure_domain: a}}, there: {{failure_domain: b}}}}
assets:
  tree: {{files: {{paths: [live/tree]}}}}
"""


def unlocked(s3_server, bucket: str) -> list[str]:
    """The newest versions that a snapshot needs and that nothing keeps from being destroyed."""
    client = s3_server.client()
    listed = client.list_objects_v2(Bucket=bucket)["Contents"]
    keys = [o["Key"] for o in listed if not o["Key"].startswith(("runs/", "trash/"))]
    return [k for k in keys if "ObjectLockMode" not in client.head_object(Bucket=bucket, Key=k)]


@pytest.mark.parametrize("places", [FIRST, COPY], ids=["written to", "a copy"])
def test_a_plan_that_lost_its_lock_is_told_so_until_it_has_it_again(
    bare, s3_server, places: str
) -> None:
    bucket = s3_server.new_bucket(locked=True)
    plan = (PLAN + places).format(bucket=bucket, endpoint=s3_server.endpoint)
    bare.variables |= {"DR_ACCESS": ACCESS_KEY, "DR_SECRET": SECRET_KEY}
    bare.plan(plan + LOCK)
    bare.run("init")
    assert "destroyed" not in bare.run("backup").stderr
    assert "all is well" in bare.run("status").stdout

    bare.plan(plan)
    (bare.top / "live/tree/more.txt").write_text("of today\n")
    said = bare.run("backup", "-q", code=11).stderr
    assert said.count("offsite: what is there is locked") == 1
    assert "give repositories.offsite the 'lock' that it had" in said
    assert unlocked(s3_server, bucket)
    to_do = bare.json("status", code=11)["to_do"]
    assert any("the plan has no lock for it" in one["what"] for one in to_do)
    if places == COPY:
        assert "can be destroyed" in bare.run("replicate", code=11).stderr
    for words in (["init"], ["verify", "offsite"], ["verify", "offsite", "--keyless"],
                  ["storage", "check", "offsite"]):  # fmt: skip
        assert "can be destroyed" in bare.run(*words, code=11).stderr
    assert "can be destroyed" in bare.run("validate").stderr  # by what this host remembers

    bare.plan(plan + LOCK)
    assert bare.json("validate")["locks_lost"] == {}
    assert "destroyed" not in bare.run("backup").stderr
    assert unlocked(s3_server, bucket) == []
    assert "all is well" in bare.run("status").stdout


def test_a_prune_removes_nothing_where_the_plan_lost_its_lock(bare, s3_server) -> None:
    """What it would hide is what the lock was to keep."""
    bucket = s3_server.new_bucket(locked=True)
    plan = (PLAN + COPY).format(bucket=bucket, endpoint=s3_server.endpoint)
    plan += "    keep: {last: 1, grace: 1ms}\n"
    bare.variables |= {"DR_ACCESS": ACCESS_KEY, "DR_SECRET": SECRET_KEY}
    bare.plan(plan + LOCK)
    bare.run("init")
    bare.run("backup")
    bare.run("backup")
    bare.plan(plan)
    for words in (["prune"], ["prune", "--dry-run"], ["prune", "--from", "offsite"]):
        said = bare.run(*words, code=11)
        assert "offsite: nothing is removed: the plan has no lock for it" in said.stdout
        assert "offsite: what is there is locked" in said.stderr
    assert "no lock for it" in bare.json("prune", code=11)["offsite"]["left_alone"]
    assert len(bare.snapshots("--from", "offsite")) == 2

    bare.plan(plan + LOCK)
    assert "0 snapshots removed, 2 stay" in bare.run("prune").stdout
