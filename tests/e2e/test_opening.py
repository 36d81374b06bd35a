"""A distant repository is asked at once for all that opening it takes; who has enough may leave."""

import os
import re
import signal
import socket
import time

import pytest
from bad_network import BadNetwork
from servers import ACCESS_KEY, SECRET_KEY

PLAN = """\
version: 1
name: test
objectives: {{rpo: 2h}}
sites: {{there: {{failure_domain: b}}}}
repositories:
  far: {{site: there, s3: {{bucket: {bucket}, endpoint: "{endpoint}",
         credentials: {{access_key: env:ACCESS, secret_key: env:SECRET}}}}}}
keys: {{credential: file:keys/writer.key}}
assets:
  tree: {{files: {{paths: [live/tree]}}, schedule: hourly}}
"""


@pytest.fixture
def far(bare, s3_server):
    """A site whose repository is a bucket; gives the bucket, too."""
    bucket = s3_server.new_bucket()
    bare.plan(PLAN.format(bucket=bucket, endpoint=s3_server.endpoint))
    bare.variables |= {"ACCESS": ACCESS_KEY, "SECRET": SECRET_KEY}
    bare.run("init")
    return bare, bucket


def test_an_identity_of_nobody_is_told_so_and_nothing_else(far) -> None:
    site, bucket = far
    site.run("key", "new", "stranger.key", "--name", "stranger")
    said = site.run("ls", "tree", "--identity", "stranger.key", code=7).stderr
    assert f"is no recipient of s3://{bucket}" in said
    assert len(said.splitlines()) == 2


def test_a_site_that_does_not_answer_holds_nobody(far, stop_at_end) -> None:
    """It takes connections and says nothing, for longer than anybody waits."""
    site, bucket = far
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        site.plan(PLAN.format(bucket=bucket, endpoint=endpoint))
        restoring = site.start("restore", "tree", "--to", "back")
        stop_at_end.append(restoring)
        asked = [silent.accept()[0] for _ in range(6)]
        restoring.send_signal(signal.SIGINT)
        said = restoring.communicate(timeout=60)[1]
        for connection in asked:
            connection.close()
    assert restoring.returncode == 130
    assert "drctl: interrupted" in said
    assert "Traceback" not in said
    assert not (site.top / "back").exists()


class Frozen(BadNetwork):
    """Gives what a restore needs to begin, and never the content."""

    def next_fault(self, wanted: str) -> str:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        is_long = bool(found) and int(found[2]) - int(found[1]) > 500_000
        self.spoilt["hangs"] += is_long
        return "hangs" if is_long else ""


@pytest.mark.parametrize(
    ("asset", "hint"),
    [
        ("tree", "back is not whole: remove it and restore again"),
        ("big", "remove nothing of what stood in live before"),
    ],
)
def test_a_site_that_freezes_under_a_restore_holds_nobody_who_has_enough(
    far, s3_server, stop_at_end, asset, hint
) -> None:
    """What stood there before, nobody is told to remove."""
    site, bucket = far
    for number in range(12):
        (site.top / f"live/tree/{number}").write_bytes(os.urandom(2 << 20))
    big = "  big: {command: {run: [sh, -c, 'cat live/tree/?'], name: big}, schedule: hourly}\n"
    place = {"tree": "back", "big": "live"}[asset]
    site.plan(PLAN.format(bucket=bucket, endpoint=s3_server.endpoint) + big)
    site.run("backup")
    network = Frozen(s3_server.port, 1.0, ("hangs",))
    network.hangs_seconds = 300.0
    try:
        site.plan(PLAN.format(bucket=bucket, endpoint=network.endpoint) + big)
        restoring = site.start("restore", asset, "--to", place)
        stop_at_end.append(restoring)
        deadline = time.monotonic() + 60
        while network.spoilt["hangs"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        restoring.send_signal(signal.SIGHUP)
        time.sleep(1)
        restoring.send_signal(signal.SIGHUP)  # a terminal that is closed says so twice
        said = restoring.communicate(timeout=60)[1]  # a read alone is tried for minutes
    finally:
        network.close()
    assert restoring.returncode == 130
    assert "Traceback" not in said
    assert hint in said
    assert (site.top / "back/.drctl-restore-unfinished").exists() is (asset == "tree")
