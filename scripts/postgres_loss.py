"""Kill a primary under load, restore from the repository, count; see scripts/postgres-loss."""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from clusters import PLAN, Cluster, bindir, give, identity, place, standing

SYNCHRONOUS = "synchronous_standby_names = 'drctl'\nsynchronous_commit = on\n"


@dataclass(frozen=True)
class Loss:
    """`committed` by pgbench's log, `back` by the restored history; seconds of the newest marker
    and of the newest row before the kill."""

    committed: int
    back: int
    marker_seconds: float
    row_seconds: float
    tps: float

    @property
    def lost(self) -> int:
        return max(0, self.committed - self.back)


def drctl(top: Path, *words: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DRCTL_PASSPHRASE": "loss", "DRCTL_STATE_DIR": str(top / "state")}
    argv = [sys.executable, "-m", "drctl", "--plan", str(top / "plan.yaml"), "-q", *words]
    return subprocess.Popen(argv, env=environment, cwd=top)


def done(process: "subprocess.Popen[bytes]") -> None:
    if process.wait():
        raise SystemExit(f"{process.args} ended with {process.returncode}")


def pgbench(cluster: Cluster, logs: Path, *words: str) -> "subprocess.Popen[bytes]":
    argv = [str(bindir() / "pgbench"), "-h", str(cluster.top), "-U", "drctl", *words, "postgres"]
    hush = subprocess.DEVNULL
    return subprocess.Popen(argv, cwd=logs, stdout=hush, stderr=hush, **identity())


def kill_outright(cluster: Cluster) -> None:
    """The postmaster and every process of it at once: nobody gets to say or store anything more."""
    pid = cluster.running.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in (pid, *map(int, children)):
        os.kill(each, signal.SIGKILL)
    cluster.running.wait()


def committed_by_log(logs: Path) -> int:
    """pgbench writes a line a transaction that was answered."""
    return sum(len(path.read_text().splitlines()) for path in logs.glob("pgbench_log.*"))


def one_round(*, synchronous: bool, seconds: float, clients: int) -> Loss:
    with place() as top:
        cluster = Cluster(give(top / "live"), conf=SYNCHRONOUS if synchronous else "").init().up()
        cluster.sql("set synchronous_commit = local")
        settings = cluster.settings(
            stream="true", synchronous=str(synchronous).lower(), mark_every="1s"
        )
        (top / "plan.yaml").write_text(PLAN.format(settings=settings))
        done(drctl(top, "init"))
        following = drctl(top, "stream")
        logs = give(top / "logs")
        done(pgbench(cluster, logs, "-i", "-q", "-s", "5"))
        done(drctl(top, "backup"))
        load = pgbench(cluster, logs, "-c", str(clients), "-T", "3600", "-l")
        time.sleep(seconds)
        killed_ns = time.time_ns()
        kill_outright(cluster)
        load.wait()
        time.sleep(1)
        following.send_signal(signal.SIGTERM)
        done(following)
        done(drctl(top, "restore", "orders", "--to", str(top / "back")))
        with standing(top / "back", top / "up") as back:
            ((rows, newest),) = back.sql(
                "select count(*), coalesce(extract(epoch from max(mtime)), 0) from pgbench_history"
            )
            ((mark_ns,),) = back.sql("select max(at_ns) from drctl.marker")
        committed = committed_by_log(logs)
        return Loss(
            committed,
            rows,
            (killed_ns - (mark_ns or 0)) / 1e9,
            killed_ns / 1e9 - float(newest),
            committed / seconds,
        )


def main() -> int:
    parser = argparse.ArgumentParser("scripts/postgres-loss", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    is_bad = False
    print("commits        committed    back    lost  newest row  newest marker     tps")
    for _ in range(options.rounds):
        for synchronous in (False, True):
            loss = one_round(
                synchronous=synchronous, seconds=options.seconds, clients=options.clients
            )
            kind = "synchronous" if synchronous else "asynchronous"
            print(
                f"{kind:13}{loss.committed:11}{loss.back:8}{loss.lost:8}{loss.row_seconds:10.2f} s"
                f"{loss.marker_seconds:13.2f} s{loss.tps:8.0f}",
                flush=True,
            )
            is_bad = is_bad or (synchronous and loss.lost > 0)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
