"""A distant repository is asked at once for all that opening it takes; who has enough may leave."""

import signal
import socket

import pytest
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
        said = restoring.communicate(timeout=20)[1]
        for connection in asked:
            connection.close()
    assert restoring.returncode == 130
    assert "Traceback" not in said
    assert not (site.top / "back").exists()
