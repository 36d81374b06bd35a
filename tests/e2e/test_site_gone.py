"""The primary site dies in the middle of a replication: its servers are killed, its disks are gone,
the host with all its keys is gone. Everything that was committed comes back with the kit alone."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import ACCESS_KEY, SECRET_KEY, Proxy, S3Server, end, start_s3

PLAN = """\
version: 1
name: test
sites:
  here: {{failure_domain: a}}
  there: {{failure_domain: b}}
repositories:
  primary:
    site: here
    s3: {{bucket: {here}, endpoint: "{primary}",
         credentials: {{access_key: "env:ACCESS", secret_key: "env:SECRET"}}}}
  offsite:
    site: there
    copy_of: primary
    s3: {{bucket: {there}, endpoint: "{offsite}",
         credentials: {{access_key: "env:ACCESS", secret_key: "env:SECRET"}}}}
assets:
  tree:
    files: {{paths: [live/tree]}}
  base:
    sqlite: {{path: live/base.db}}
"""
NEW_BYTES = 96 << 20
SLOW_BYTES = 8 << 20  # a second, over each connection


class SlowAnswers(Proxy):
    """A link over which reading takes its time, once `is_slow`."""

    is_slow = False

    def _pace(self, count: int) -> None:
        if self.is_slow:
            time.sleep(count / SLOW_BYTES)


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[S3Server]:
    """The primary site's storage, which this test kills."""
    folder = tmp_path / "primary-disk"
    folder.mkdir()
    server = start_s3(folder)
    yield server
    end(server)


def wait_for_a_pack(there, before: int, drctl: "subprocess.Popen[str]") -> None:
    """Until the replication has brought some of what is new, and not all of it."""
    give_up = time.monotonic() + 120
    while len(list(there.list("packs/"))) <= before:
        assert drctl.poll() is None, "the backup ended before anything was copied"
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_site_that_dies_while_it_is_replicated_is_restored_with_the_kit_alone(
    bare, primary, s3_server, differences, stop_at_end
) -> None:
    here, there = primary.new_bucket(), s3_server.new_bucket()
    link = SlowAnswers(primary.port)
    bare.plan(
        PLAN.format(here=here, there=there, primary=link.endpoint, offsite=s3_server.endpoint)
    )
    bare.variables |= {"ACCESS": ACCESS_KEY, "SECRET": SECRET_KEY}
    bare.run("init")
    bare.run("kit", "--to", "kit", "--need", "2", "--of", "3", "--yes")
    committed = {s["asset"]: s["id"] for s in bare.json("backup")["snapshots"]}
    lived = bare.top.with_name(f"{bare.top.name}-lived")
    subprocess.run(["rsync", "-aHAX", f"{bare.top}/live/", f"{lived}/"], check=True)

    (bare.top / "live/tree/new").write_bytes(os.urandom(NEW_BYTES))
    copy = s3_server.storage(there)
    packs = len(list(copy.list("packs/")))
    link.is_slow = True
    drctl = bare.start("backup", "tree")
    stop_at_end.append(drctl)
    wait_for_a_pack(copy, packs, drctl)
    drctl.kill()
    end(primary)
    link.close()
    papers = bare.top.with_name(f"{bare.top.name}-papers")
    papers.mkdir()
    for name in ("kit.json", "share-1.txt", "share-3.txt"):
        shutil.copy(bare.top / "kit" / name, papers)
    shutil.rmtree(bare.top, ignore_errors=True)

    restored = papers / "restored"
    with_kit(papers, "verify", "--read-data", "100")
    with_kit(papers, "restore", committed["tree"], "--to", str(restored))
    assert differences(lived / "tree", restored) == ""
    with_kit(papers, "restore", committed["base"], "--to", str(papers / "base.db"))
    before, after = (
        subprocess.run(["sqlite3", path, ".dump"], capture_output=True, check=True).stdout
        for path in (lived / "base.db", papers / "base.db")
    )
    assert before == after


def with_kit(papers: Path, *words: str) -> None:
    """On a machine with nothing but the papers, and an empty environment."""
    done = subprocess.run(
        [sys.executable, "-m", "drctl", *words, "--kit", str(papers)],
        cwd=papers,
        env={"HOME": str(papers), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
