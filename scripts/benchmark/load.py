"""What a backup costs the server that it reads: pgbench's transactions a second without one, with
one, and with one that is held back by `throttle`, in windows that take turns.

While a window lasts, one first backup follows the other, each into a repository of its own, so that
there is always something to read and to store. The server writes to the disk as in production.
"""

import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmark.pgdata import Running
from benchmark.rivals import DrctlPostgres

_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_WINDOW_SECONDS = 8
_MOST = 3  # backups that fit into a window
_WARM_SECONDS = 20
KINDS = ("backup", "throttled")
Pair = tuple[float, float]  # transactions a second without, and with


class Loaded(Running):
    """The cluster, as safe as it is in production."""

    options = Running.options.replace("fsync=off", "fsync=on")


def measure(work: Path, scale: int, rounds: int, rate: str) -> dict[str, list[Pair]]:
    """Of each kind the windows, each beside the mean of those without a backup right before it and
    right after: a server gets quicker as its pages come into memory, a machine has slow minutes."""
    data = Loaded(work, scale)
    data.make()
    found: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    with data.serving(data.path):
        data.pgbench("-c", "4", "-T", str(_WARM_SECONDS))
        before = _window(data, work / "load", "", rate)
        for _ in range(rounds):
            for kind in KINDS:
                during = _window(data, work / "load", kind, rate)
                after = _window(data, work / "load", "", rate)
                found[kind].append(((before + after) / 2, during))
                before = after
                print(f"bench: {kind}: tps {found[kind][-1]}", file=sys.stderr, flush=True)
    return found


def _window(data: Loaded, work: Path, kind: str, rate: str) -> float:
    data.sql("checkpoint")
    shutil.rmtree(work, ignore_errors=True)
    tools = [_tool(data, work / str(i), kind, rate) for i in range(_MOST)] if kind else []
    with data.started_pgbench("-n", "-c", "4", "-T", str(_WINDOW_SECONDS)) as pgbench:
        while tools and pgbench.poll() is None:
            _back_up(tools.pop(), pgbench)
        told, _ = pgbench.communicate()
    shutil.rmtree(work, ignore_errors=True)
    return float(_TPS.findall(told)[0])


def _back_up(tool: DrctlPostgres, pgbench: "subprocess.Popen[str]") -> None:
    """One backup, or as much of it as fits into the window."""
    argv = tool.backup()
    with subprocess.Popen(argv, env=tool.environment, stdout=subprocess.DEVNULL) as backing:
        while backing.poll() is None:
            if pgbench.poll() is not None:
                backing.send_signal(signal.SIGINT)
                return
            time.sleep(0.1)
    if backing.returncode not in (0, 11):
        raise SystemExit(f"bench: the backup failed with {backing.returncode}")


def _tool(data: Loaded, work: Path, kind: str, rate: str) -> DrctlPostgres:
    tool = DrctlPostgres(work, data.path, data.socket)
    if kind == "throttled":
        tool.asset += f", throttle: {{{{read: {rate}}}}}"
    tool.prepare()
    return tool


def table(found: dict[str, list[Pair]], rate: str) -> str:
    """Medians, and what each costs."""
    lines = ["| pgbench during | windows | tps without | with | left |", "|---|---|---|---|---|"]
    for kind, pairs in found.items():
        alone, during = (statistics.median(column) for column in zip(*pairs, strict=True))
        left = [round(100 * after / before) for before, after in pairs]
        name = f"{kind}, `throttle: {{read: {rate}}}`" if kind == "throttled" else kind
        shown = f"{statistics.median(left):.0f} % ({', '.join(map(str, left))})"
        lines.append(f"| {name} | {len(pairs)} | {alone:.0f} | {during:.0f} | {shown} |")
    return "\n".join(lines) + "\n"
