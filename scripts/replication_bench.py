"""Replication of what is there already, and of what is new; see scripts/replication-bench."""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from bad_network import BadNetwork
from benchmark.namespaces import Network, join
from servers import ACCESS_KEY, SECRET_KEY, S3Server
from two_sites import link_mbit, server_in

from drctl.repository import names
from drctl.workers import pool

PLAN = """\
version: 1
name: replication
sites: {{here: {{failure_domain: a}}, there: {{failure_domain: b}}}}
repositories:
  first: {{site: here, path: first}}
{second}keys: {{credential: file:keys/writer.key}}
assets:
  data: {{files: {{paths: [live]}}}}
"""
SECOND = """\
  second:
    site: there
    copy_of: first
    s3: {{bucket: {bucket}, endpoint: "{endpoint}",
         credentials: {{access_key: "env:ACCESS", secret_key: "env:SECRET"}}}}
"""
_SMALL_BYTES = 64


class Host:
    """A repository at the first site, and the real command."""

    def __init__(self, top: Path, mib: int) -> None:
        self.top = top
        (top / "live").mkdir(parents=True)
        with (top / "live/data").open("wb") as data:
            for number in range(mib):
                data.write(random.Random(number).randbytes(1 << 20))
        self.plan("")
        self.run("init")
        self.run("backup")
        shutil.rmtree(top / "live")

    def plan(self, second: str) -> None:
        (self.top / "plan.yaml").write_text(PLAN.format(second=second))

    def copy_to(self, bucket: str, endpoint: str) -> None:
        self.plan(SECOND.format(bucket=bucket, endpoint=endpoint))

    def run(self, *words: str) -> Any:
        variables = {"DRCTL_PASSPHRASE": "bench", "DRCTL_STATE_DIR": f"{self.top}/state"}
        variables |= {"ACCESS": ACCESS_KEY, "SECRET": SECRET_KEY}
        done = subprocess.run(
            [sys.executable, "-m", "drctl", "--plan", f"{self.top}/plan.yaml", *words, "--json"],
            env={**os.environ, **variables}, cwd=self.top, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{words}: exit {done.returncode}\n{done.stderr}")
        return json.loads(done.stdout)


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


# -- what is there already ------------------------------------------------------------------------


def there_already(top: Path, count: int) -> dict[str, Any]:
    """Small objects under names that are theirs, at both ends."""
    host = Host(top / "many", 1)
    first = host.top / "first"
    for number in range(count):
        data = number.to_bytes(_SMALL_BYTES, "big")
        path = first / names.named(names.PACKS, sha256(data).hexdigest())
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    disk = top / "disk"
    disk.mkdir()
    network = Network()
    with ExitStack() as stack:
        stack.callback(network.close)
        server = stack.enter_context(server_in(network, disk))
        stack.enter_context(network.inside())
        bucket = server.new_bucket()
        host.copy_to(bucket, server.endpoint)
        fill(server, first / "packs", bucket)
        host.run("replicate")
        runs = [seconds(lambda: host.run("replicate")) for _ in range(5)]
        counting = BadNetwork(server.port, 0.0)
        host.copy_to(bucket, counting.endpoint)
        done = host.run("replicate")
        counting.close()
    return {
        "objects": sum(len(files) for _, _, files in os.walk(first)),
        "requests": counting.requests,
        "seconds": round(statistics.median(runs), 2),
        "copied": done,
    }


def fill(server: S3Server, packs: Path, bucket: str) -> None:
    """By the server's own program: quicker than a hundred thousand requests."""
    argv = Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")
    (filer,) = (a.split(b"=")[1].decode() for a in argv if a.startswith(b"-filer.port="))
    to = f"http://127.0.0.1:{filer}/buckets/{bucket}/"
    subprocess.run(
        [os.fsdecode(argv[0]), "filer.copy", "-c", "32", str(packs), to],
        check=True,
        capture_output=True,
    )


# -- what is new ----------------------------------------------------------------------------------


def new(top: Path, mib: int, mbit: float, rounds: int) -> dict[str, Any]:
    """drctl and the SDK in turn, each to a new server over the link."""
    host = Host(top / "much", mib)
    drctl, sdk = [], []
    with linked(mbit) as (here, there, address):
        measured = link_mbit(here, there, address)
        for number in range(rounds):
            for times, work in ((drctl, by_drctl), (sdk, by_sdk)):
                disk = top / f"disk-{number}"
                disk.mkdir()
                with server_in(there, disk, address) as server, here.inside():
                    times.append(work(host, server.new_bucket(), server.endpoint))
                shutil.rmtree(disk)
                print(f"{work.__name__} {times[-1]:.2f} s", file=sys.stderr, flush=True)
    ratio = statistics.median(sdk) / statistics.median(drctl)
    return {
        "mib": mib,
        "link_mbit": measured,
        "drctl_seconds": [round(s, 2) for s in drctl],
        "sdk_seconds": [round(s, 2) for s in sdk],
        "of_the_sdk": round(ratio, 3),
    }


@contextmanager
def linked(mbit: float) -> Iterator[tuple[Network, Network, str]]:
    here, there = Network(), Network()
    try:
        yield here, there, join(here, there, mbit=mbit)[1]
    finally:
        here.close()
        there.close()


def by_drctl(host: Host, bucket: str, endpoint: str) -> float:
    """The whole command, with its start."""
    host.copy_to(bucket, endpoint)
    return seconds(lambda: host.run("replicate"))


def by_sdk(host: Host, bucket: str, endpoint: str) -> float:
    """The same objects, read and put by as many threads; without the start of Python."""
    import boto3

    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    first = host.top / "first"

    def put(path: Path) -> None:
        key = str(path.relative_to(first))
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    paths = [path for path in first.rglob("*") if path.is_file()]
    with pool() as work:
        return seconds(lambda: list(work.map(put, paths)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/replication-bench")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--objects", type=int, default=100_000, help="0: leave this part out")
    parser.add_argument("--mib", type=int, default=1024, help="0: leave this part out")
    parser.add_argument("--mbit", type=float, default=1000.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    top = given.work.resolve()
    top.mkdir(parents=True)
    found: dict[str, Any] = {}
    if given.objects:
        found["there_already"] = there_already(top, given.objects)
    if given.mib:
        found["new"] = new(top, given.mib, given.mbit, given.rounds)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
