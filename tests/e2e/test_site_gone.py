"""The primary site dies in the middle of a replication: its servers are killed, its disks are gone,
the host with all its keys is gone. Everything that was committed comes back with the kit alone."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recoverable import lay_out, left
from servers import ACCESS_KEY, SECRET_KEY, Proxy, S3Server, end, start_s3

from drctl.ops.recovery.box import processes_in

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
    assert dump(lived / "base.db") == dump(papers / "base.db")

    with_kit(papers, "recover", "--from", "offsite", "--to", str(papers / "all"), "--yes")
    assert differences(lived / "tree", papers / "all/tree") == ""
    assert dump(lived / "base.db") == dump(papers / "all/base")


def dump(path: Path) -> bytes:
    return subprocess.run(["sqlite3", path, ".dump"], capture_output=True, check=True).stdout


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


DRILLED = """\
objectives: {{rpo: 1h, rto: 10m}}
recovery:
  steps:
    base: {{restore: base}}
    tree: {{restore: tree}}
    app: {{run: [sh, -c, "{app}"], after: [base, tree]}}
checks:
  - {{asset: base, sql: "select count(*) from t", expect: {{min: 1}}}}
  - {{asset: tree, compare: manifest}}
drills:
  far: {{from: offsite, deny_sites: [here]}}
"""


def away(bare, s3_server, app: str) -> str:
    """A site whose copy is a bucket, with a kit; gives where its own bucket is asked for."""
    here, there = s3_server.new_bucket(), s3_server.new_bucket()
    near = Proxy(s3_server.port).endpoint
    text = PLAN.format(here=here, there=there, primary=near, offsite=s3_server.endpoint)
    bare.plan(text + DRILLED.format(app=app))
    bare.variables |= {"ACCESS": ACCESS_KEY, "SECRET": SECRET_KEY}
    bare.run("init")
    bare.run("backup")
    bare.run("kit", "--to", "kit", "--need", "1", "--of", "1", "--yes")
    return near


def test_a_drill_of_the_gone_site_reaches_its_bucket_and_nothing_else(bare, s3_server) -> None:
    away(bare, s3_server, "test ! -e keys")
    found = bare.json("drill", "far", "--kit", "kit")
    assert found["verdict"] == "passed", found["reasons"]
    assert found["site_gone"] == {
        "in_view": "offsite",
        "network": f"no network but a door to its server, 127.0.0.1:{s3_server.port}",
    }
    assert found["isolation"]["proven"]
    assert found["left_behind"] == []

    bare.run(
        "kit",
        "--to",
        "bare-kit",
        "--name",
        "bare",
        "--need",
        "1",
        "--of",
        "1",
        "--without-credentials",
        "--yes",
    )
    told = bare.run("drill", "far", "--kit", "bare-kit", code=7)
    assert "has no ACCESS" in told.stderr


def test_what_a_killed_drill_of_the_gone_site_left_is_removed_by_the_next_command(
    bare, s3_server, stop_at_end
) -> None:
    away(bare, s3_server, "sleep 4321 & touch $DRCTL_AT_TREE/running; sleep 4321")
    drill = bare.start("drill", "far", "--kit", "kit")
    stop_at_end.append(drill)
    home = bare.top / "state/drills"
    until(lambda: list(home.glob("drill-*/state/drills/drill-*/target/tree/running")))
    drill.kill()
    drill.wait()
    (box,) = home.glob("drill-*")
    assert list(processes_in(str(box)))
    told = bare.run("status").stderr
    assert f"{box}: what a drill left there is removed" in " ".join(told.split())
    assert not box.exists()
    assert not list(processes_in(str(box)))


def until(is_so: Callable[[], object]) -> None:
    give_up = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_where_no_namespace_can_be_made_the_site_is_not_taken_for_gone(bare) -> None:
    lay_out(bare)
    bare.run("kit", "--to", "kit", "--need", "1", "--of", "1", "--yes")
    none = 'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$@"'
    words = ["unshare", "--map-root-user", "sh", "-c", none, "sh"]
    done = subprocess.run(
        [*words, *bare.argv("drill", "far", "--kit", "kit", "--json")],
        cwd=bare.top,
        env=bare.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 9, done.stderr
    error = json.loads(done.stdout)["error"]
    assert "no namespace can be made here: unshare" in error["what"]
    assert "root may make one" in error["hint"]
    assert left(bare) == []
