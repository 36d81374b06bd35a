"""A network that spoils one request in four before a real S3 server, for many runs; and what the
real command says of servers that hang and that are not there."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from bad_network import KINDS, BadNetwork
from killing import PASSPHRASE, PLAN, s3_place
from servers import S3Server, shared_s3
from small_site import Site, Waiting, random_tree, write_tree
from test_network import through

from drctl.repository import lifecycle
from drctl.storage.retry import Retry
from longhaul.common import Haul

_ROUNDS = 25


def run(haul: Haul) -> dict[str, object]:
    """How many requests were spoilt how, and how the command ended."""
    with shared_s3(haul.top / "server") as server:
        spoilt = _rounds(haul, server)
        ends = {kind: _command(haul, server, kind) for kind in ("hangs", "busy", "reset")}
    return {**spoilt, "command": ends}


def _rounds(haul: Haul, server: S3Server) -> dict[str, object]:
    site, bucket = Site(haul.top / "site", haul.pool), server.new_bucket()
    network = BadNetwork(server.port, 0.25, KINDS, haul.seed)
    bad, straight = (
        Retry(through(network, bucket), Waiting(), attempts=25),
        server.storage(bucket),
    )
    lifecycle.create(bad, site.credential, os.urandom)
    spoilt: Counter[str] = Counter()
    for round_ in range(_ROUNDS):
        haul.where = f"round {round_}"
        tree = random_tree(haul.seed + round_, 9, 60_000, large_bytes=1 << 20)
        write_tree(site.live, tree)
        made = site.backup(bad)
        assert site.verified(straight) == []
        assert tree.items() <= site.restored(bad, made.name).items()
    spoilt.update(network.spoilt)
    network.close()
    return {"backups": _ROUNDS, "requests": network.requests, "spoilt": spoilt}


def _command(haul: Haul, server: S3Server, kind: str) -> dict[str, object]:
    """The real command, when every request is spoilt."""
    haul.where = f"the command, {kind}"
    top = haul.top / f"command-{kind}"
    (top / "live").mkdir(parents=True)
    network = BadNetwork(server.port, 0.0, (kind,))
    place = s3_place(top, server.new_bucket(), network.endpoint)
    (top / "plan.yaml").write_text(PLAN.replace("FIRST", place))
    assert _drctl(top, "init").returncode == 0
    network.share = 1.0
    began = time.monotonic()
    done = _drctl(top, "backup")
    network.close()
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return {
        "exit": done.returncode,
        "seconds": round(time.monotonic() - began),
        "said": done.stderr,
    }


def _drctl(top: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    variables = {"PATH": os.environ["PATH"], "HOME": str(top), "DRCTL_PASSPHRASE": PASSPHRASE}
    return subprocess.run(
        [sys.executable, "-m", "drctl", "--plan", str(top / "plan.yaml"), *words, "--quiet"],
        env={**variables, "DRCTL_STATE_DIR": str(top / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
