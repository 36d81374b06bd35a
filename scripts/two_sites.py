"""The first of two sites dies in the middle of a replication; see scripts/two-sites."""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmark.namespaces import Network, join
from servers import ACCESS_KEY, SECRET_KEY, S3Server, answers, end, free_ports, start_s3

PLAN = """\
version: 1
name: two-sites
objectives: {{rpo: 1h, rto: 10m}}
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
keys: {{credential: file:keys/writer.key}}
assets:
  tree: {{files: {{paths: [live/tree]}}}}
  base: {{sqlite: {{path: live/base.db, mark: true}}}}
recovery:
  steps:
    base: {{restore: base}}
    tree: {{restore: tree}}
"""
_NEW_PACKS = 3  # are at the copy when the first site dies


class Story:
    """`host` is the machine at the first site, `papers` what somebody carries out of it, `lived`
    what was live when the last whole replication was over, for comparing."""

    def __init__(self, top: Path, mib: int) -> None:
        self.host, self.papers, self.lived = (top / n for n in ("host", "papers", "lived"))
        self.disk_here, self.disk_there = top / "disk-here", top / "disk-there"
        self.mib = mib
        self.figures: dict[str, Any] = {}
        for path in (self.host, self.papers, self.disk_here, self.disk_there):
            path.mkdir(parents=True)

    def lay_out(self, plan: str) -> None:
        tree = self.host / "live/tree"
        tree.mkdir(parents=True)
        for number in range(200):
            (tree / f"file-{number}").write_bytes(os.urandom(1000 * number))
        with closing(sqlite3.connect(self.host / "live/base.db")) as base, base:
            base.execute("create table t (id integer primary key, v text)")
            base.executemany("insert into t (v) values (?)", [(f"row {i}",) for i in range(10_000)])
        (self.host / "plan.yaml").write_text(plan)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """The real command on the host at the first site."""
        variables = {
            "DRCTL_PASSPHRASE": "correct horse",
            "ACCESS": ACCESS_KEY,
            "SECRET": SECRET_KEY,
        }
        variables |= {"PATH": os.environ["PATH"], "HOME": str(self.host), "LC_ALL": "C.UTF-8"}
        return _drctl(self.host, variables, "--plan", f"{self.host}/plan.yaml", *words)

    def run(self, *words: str) -> str:
        return _whole(self.start(*words))

    def with_papers(self, *words: str) -> str:
        """On a machine that has nothing but the kit, and an empty environment."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.papers), "LC_ALL": "C.UTF-8"}
        return _whole(_drctl(self.papers, variables, *words, "--kit", str(self.papers / "kit")))

    def keep_copies(self) -> None:
        """What goes out of the house: the kit with two of its three shares."""
        shutil.copytree(self.host / "live", self.lived, symlinks=True)
        (self.papers / "kit").mkdir()
        for name in ("kit.json", "share-1.txt", "share-3.txt"):
            shutil.copy(self.host / "kit" / name, self.papers / "kit")


def _drctl(top: Path, variables: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "drctl", *words],
        env={**variables, "DRCTL_STATE_DIR": str(top / "state")},
        cwd=top,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _whole(process: "subprocess.Popen[str]") -> str:
    out, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args}: exit {process.returncode}\n{said}")
    return out


def tell(text: str) -> None:
    print(f"two-sites: {text}", file=sys.stderr, flush=True)


# -- the parts ------------------------------------------------------------------------------------


@contextmanager
def server_in(network: Network, disk: Path, address: str = "127.0.0.1") -> Iterator[S3Server]:
    with network.inside():
        server = start_s3(disk, address)
    try:
        yield server
    finally:
        end(server)


@contextmanager
def distance(network: Network, address: str, port: int, delay_ms: float) -> Iterator[str]:
    """Where a server of a site is reached from afar; each answer takes `delay_ms` longer."""
    with network.inside():
        (listening,) = free_ports(1)
        argv = [sys.executable, "-m", "benchmark.proxy", str(listening), str(port)]
        process = subprocess.Popen([*argv, str(delay_ms), address])
        endpoint = f"http://{address}:{listening}"
        while not answers(endpoint):
            time.sleep(0.05)
        try:
            yield endpoint
        finally:
            process.kill()
            process.wait()


def link_mbit(one: Network, other: Network, address: str) -> float:
    """What really goes over the link."""
    receive = "import socket,sys\nwith socket.create_server((sys.argv[1], 5001)) as s:\n"
    receive += " print(flush=True)\n c = s.accept()[0]\n while c.recv(1 << 20): pass\n"
    send = "import socket,sys\nwith socket.create_connection((sys.argv[1], 5001)) as s:\n"
    send += " for _ in range(32): s.sendall(bytes(1 << 20))\n s.shutdown(1)\n s.recv(1)\n"
    with other.inside():
        far = subprocess.Popen([sys.executable, "-c", receive, address], stdout=subprocess.PIPE)
        assert far.stdout
        far.stdout.readline()
    began = time.monotonic()
    with one.inside():
        subprocess.run([sys.executable, "-c", send, address], check=True)
    far.communicate()
    return round(32 * 8.388608 / (time.monotonic() - began))


# -- the story ------------------------------------------------------------------------------------


def live_well(story: Story) -> None:
    """A first whole backup at both sites, and a kit."""
    story.run("init")
    story.run("kit", "--to", "kit", "--need", "2", "--of", "3", "--yes")
    story.run("mark")
    story.run("backup")
    story.keep_copies()
    tell("both sites hold the first snapshots")


def die(
    story: Story, here: Network, there: Network, servers: tuple[S3Server, S3Server], bucket: str
) -> None:
    """New data is on its way when the storage dies, then the host, then the line."""
    primary, offsite = servers
    (story.host / "live/tree/new").write_bytes(os.urandom(story.mib << 20))
    with there.inside():
        before = _packs(offsite, bucket)
    with here.inside():
        drctl = story.start("backup", "tree")
    with there.inside():
        while (new := _packs(offsite, bucket) - before) < _NEW_PACKS:
            if drctl.poll() is not None:
                raise SystemExit(f"the backup ended before: {drctl.communicate()}")
            time.sleep(0.05)
    end(primary)
    shutil.rmtree(story.disk_here)
    tell(f"kill -9 of the first site's storage, and its disk removed, after {new} new packs")
    _, said = drctl.communicate()
    tell(f"the host's drctl ended with {drctl.returncode}: {said.strip().splitlines()[-1]}")
    story.figures |= {"new_packs_at_the_copy": new, "exit_at_the_first_site": drctl.returncode}
    for pid in here.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    here.ip("link", "set", "wan", "down")
    shutil.rmtree(story.host)
    tell("the host is gone with its plan, keys and state; the line is dead")


def _packs(server: S3Server, bucket: str) -> int:
    return len(list(server.storage(bucket).list("packs/")))


def come_back(story: Story, there: Network) -> None:
    """At the second site, with the papers alone."""
    began = time.monotonic()
    with there.inside():
        done = json.loads(story.with_papers("recover", "--yes", "--to", "back", "--json"))
        seconds = round(time.monotonic() - began, 1)
        story.with_papers("verify", "--read-data", "100")
    assert done["ending"] == "done", done
    differences = subprocess.run(
        ["rsync", "-nacHAX", "--delete", "--itemize-changes",
         f"{story.lived}/tree/", f"{story.papers}/back/tree/"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    dumps = [
        subprocess.run(["sqlite3", path, ".dump"], capture_output=True, check=True).stdout
        for path in (story.lived / "base.db", story.papers / "back/base")
    ]
    story.figures |= {"recovered_in_seconds": seconds, "rsync_finds": differences}
    story.figures["database_is_the_same"] = dumps[0] == dumps[1]
    tell(f"recovered with the kit alone in {seconds} s")


def play(given: argparse.Namespace) -> dict[str, Any]:
    story = Story(given.work.resolve(), given.mib)
    with ExitStack() as stack:
        here, there = Network(), Network()
        stack.callback(here.close)
        stack.callback(there.close)
        _, address = join(here, there, mbit=given.mbit)
        mbit = link_mbit(here, there, address)
        tell(f"a link of {mbit} megabits, {given.delay_ms:g} ms")
        primary = stack.enter_context(server_in(here, story.disk_here))
        offsite = stack.enter_context(server_in(there, story.disk_there))
        far = stack.enter_context(distance(there, address, offsite.port, given.delay_ms))
        with here.inside():
            here_bucket = primary.new_bucket()
        with there.inside():
            bucket = offsite.new_bucket()
        story.lay_out(
            PLAN.format(here=here_bucket, there=bucket, primary=primary.endpoint, offsite=far)
        )
        with here.inside():
            live_well(story)
        die(story, here, there, (primary, offsite), bucket)
        come_back(story, there)
    return {"link_mbit": mbit, "delay_ms": given.delay_ms, "new_mib": given.mib, **story.figures}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/two-sites")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--mbit", type=float, default=200.0)
    parser.add_argument("--delay-ms", type=float, default=20.0)
    parser.add_argument("--mib", type=int, default=256, help="new data that is on its way")
    found = play(parser.parse_args())
    print(json.dumps(found))
    return int(bool(found["rsync_finds"]) or not found["database_is_the_same"])


if __name__ == "__main__":
    sys.exit(main())
