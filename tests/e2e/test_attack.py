"""A thief of the production host, with its writer credential and the storage's keys, destroys what
he can in a locked bucket. What was there before comes back."""

import contextlib
import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from servers import ACCESS_KEY, SECRET_KEY

PLAN = """\
version: 1
name: test
sites:
  here: {{failure_domain: a}}
  there: {{failure_domain: b}}
repositories:
  local: {{site: here, path: local}}
  offsite:
    site: there
    copy_of: local
    lock: {{mode: compliance, for: 1h}}
    s3: {{bucket: {bucket}, prefix: dr, endpoint: "{endpoint}",
         credentials: {{access_key: "env:DR_ACCESS", secret_key: "env:DR_SECRET"}}}}
assets:
  tree:
    files: {{paths: [live/tree]}}
  base:
    sqlite: {{path: live/base.db}}
"""
LOGGED = """\
  orders:
    postgres: {host: /nowhere, stream: true}
"""


@pytest.fixture
def bucket(s3_server) -> str:
    return s3_server.new_bucket(locked=True)


@pytest.fixture
def site(bare, s3_server, bucket):
    bare.plan(PLAN.format(bucket=bucket, endpoint=s3_server.endpoint))
    bare.variables |= {"DR_ACCESS": ACCESS_KEY, "DR_SECRET": SECRET_KEY}
    bare.run("init")
    return bare


def versions(s3_server, bucket: str) -> list[dict]:
    pages = s3_server.client().get_paginator("list_object_versions").paginate(Bucket=bucket)
    return [version for page in pages for version in page.get("Versions", ())]


def destroy(s3_server, bucket: str) -> int:
    """Everything that these keys can do to every version there is. Gives how many were lost."""
    client, before = s3_server.client(), versions(s3_server, bucket)
    soon = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(seconds=2)}
    for version in before:
        which = {"Bucket": bucket, "Key": version["Key"]}
        one = {**which, "VersionId": version["VersionId"]}
        for attempt in (
            lambda w=one: client.put_object_retention(
                **w, Retention=soon, BypassGovernanceRetention=True
            ),
            lambda w=one: client.delete_object(**w, BypassGovernanceRetention=True),
            lambda w=which: client.put_object(**w, Body=b"encrypted by ransomware"),
            lambda w=which: client.delete_object(**w),
        ):
            with contextlib.suppress(ClientError):
                attempt()
    off = {"Status": "Suspended"}
    for attempt in (
        lambda: client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=off),
        lambda: client.delete_bucket(Bucket=bucket),
    ):
        with contextlib.suppress(ClientError):
            attempt()
    left = {version["VersionId"] for version in versions(s3_server, bucket)}
    return sum(1 for version in before if version["VersionId"] not in left)


def test_the_thief_reads_nothing(site, s3_server, bucket) -> None:
    """Neither by drctl with all that lies on the host, but for the passphrase, nor in the bytes of
    any version in the bucket: no content, no path, no piece of a database's log."""
    site.plan(PLAN.format(bucket=bucket, endpoint=s3_server.endpoint) + LOGGED)
    (site.top / "live/tree/SECRET-path").write_text("a SECRET content")
    (site.top / "global").mkdir()
    (site.top / "global/pg_control").write_bytes(b"\1" * 8)
    (site.top / "00000002.history").write_text("1\t0/5000000\ta SECRET of the log\n")
    site.run("backup", "tree", "base")
    site.run("wal", "push", "orders", "00000002.history")
    site.run("replicate")
    fetch = ("wal", "fetch", "orders", "00000002.history")
    said = site.run(*fetch, "fetched", "--from", "offsite", code=255).stderr
    assert "there is no cluster here" in said
    (site.top / "pg_wal").mkdir()
    site.run(*fetch, "fetched", "--from", "offsite")
    assert "SECRET" in (site.top / "fetched").read_text()  # it is there to be read

    his = replace(site, variables={**site.variables, "DRCTL_PASSPHRASE": ""})
    for repository in ("local", "offsite"):
        where = ("--from", repository)
        his.run("restore", "tree", "--to", "his", *where, code=7)
        his.run("restore", "base", "--to", "his.db", *where, code=7)
        his.run("ls", "tree", *where, code=7)
        his.run(*fetch, "his.log", *where, code=255)
    assert not list(site.top.glob("his*"))
    client = s3_server.client()
    stolen = {
        version["Key"]: client.get_object(
            Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"]
        )["Body"].read()
        for version in versions(s3_server, bucket)
    }
    assert any(key.startswith("dr/log/") for key in stolen)
    assert not [key for key, data in stolen.items() if b"SECRET" in data or "SECRET" in key]


def test_what_was_there_before_the_thief_comes_back(site, s3_server, bucket, differences) -> None:
    site.run("backup")
    before = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    time.sleep(1.2)
    # He goes on for a while as if nothing were, with snapshots of his own.
    live = site.top / "live/tree/a.txt"
    live.write_text("his\n")
    site.run("backup", "tree")
    assert destroy(s3_server, bucket) == 0
    shutil.rmtree(site.top / "local")
    shutil.rmtree(site.top / "state")
    live.write_text("alpha\n")

    now = ("--from", "offsite")
    site.run("snapshots", *now, code=5)
    past = (*now, "--as-of", before)
    assert len(site.snapshots(*past)) == 2
    assert "all is well" in site.run("verify", "--read-data", "100", *past).stdout
    site.run("restore", "base", "--to", site.top / "base.db", *past)
    site.run("restore", "tree", "--to", site.top / "back", *past)
    found = differences(site.top / "live/tree", site.top / "back").splitlines()
    assert [line for line in found if "a.txt" not in line and "same-as-a" not in line] == []
    assert (site.top / "back/a.txt").read_text() == "alpha\n"
    site.run("restore", "tree", "--to", site.top / "his", "--as-of", before, code=2)


def test_the_past_of_a_bucket_fills_a_new_repository(site, s3_server, bucket, differences) -> None:
    site.run("backup", "tree")
    before = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    time.sleep(1.2)
    destroy(s3_server, bucket)
    shutil.rmtree(site.top / "local")
    site.run("replicate", "--from", "offsite", "--as-of", before, "--to", "local")
    assert "all is well" in site.run("verify", "--read-data", "100").stdout
    site.run("restore", "tree", "--to", site.top / "back")
    assert differences(site.top / "live/tree", site.top / "back") == ""
    site.run("replicate", "--as-of", before, code=2)  # a directory keeps no versions


def test_storage_check_attacks_a_canary_and_nothing_else(site) -> None:
    site.run("backup", "tree")
    found = site.json("storage", "check", "offsite", "--attack")
    assert all(check["ok"] for check in found["checks"])
    assert any("cannot be shortened" in check["promise"] for check in found["checks"])
    assert "all is well" in site.run("verify", "--from", "offsite").stdout
    assert "no lock" in site.run("storage", "check", "local", "--attack", code=2).stderr


def locks(s3_server, bucket: str) -> dict[str, datetime]:
    """Until when each object is locked, but for what only the first snapshot needs."""
    client, found = s3_server.client(), {}
    for version in versions(s3_server, bucket):
        key = version["Key"].removeprefix("dr/")
        if key.startswith(("runs/", "trash/")):
            continue  # no snapshot needs it
        which = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
        retention = client.get_object_retention(**which)["Retention"]
        assert retention["Mode"] == "COMPLIANCE"
        found[key] = retention["RetainUntilDate"]
    return found


@pytest.mark.parametrize("repository", ["a copy", "written to"])
def test_packs_that_a_new_snapshot_uses_again_are_locked_as_long_as_it_is(
    site, s3_server, bucket, repository
) -> None:
    """The mistake of others: the lock of an older chunk that a new snapshot reuses ran out. Here a
    longer lock makes old packs due, as time would."""
    text = (site.top / "plan.yaml").read_text()
    if repository == "written to":
        text = text.replace("    copy_of: local\n", "")
        text = text.replace("  local: {site: here, path: local}\n", "")
    site.plan(text)
    site.run("backup", "tree")
    first = locks(s3_server, bucket)
    site.plan(text.replace("for: 1h", "for: 3h"))
    site.run("backup", "tree")
    after = locks(s3_server, bucket)
    due = datetime.now(UTC) + timedelta(hours=2, minutes=58)
    short = {key for key, until in after.items() if until < due}
    own = {key for key in first if key.startswith(("refs/", "snapshots/"))}
    assert short <= own  # what the first snapshot alone needs keeps its own date
    assert {key.split("/")[0] for key in set(first) - own} == {
        "config", "keys", "sessions", "packs", "index"
    }  # fmt: skip
