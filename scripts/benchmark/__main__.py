"""The run: for each round every tool does the same, one after the other, on the same data."""

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmark import load, measure, report
from benchmark.answers import answers
from benchmark.data import Large, Many, Own, Tree
from benchmark.ending import end_when_told, ending_with_us
from benchmark.mydata import MariaDB
from benchmark.online import STEPS, Contest
from benchmark.pgdata import Postgres, Running
from benchmark.tools import LOCAL, REMOTE, S3, Drctl, Tool, versions

ACCESS, SECRET = "bench", "bench-secret"
ONLINE = ("pgcluster", "mariadb")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("scripts/bench", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="directory with 30 GiB of room")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--data", nargs="+", default=["tree", "pg"],
                        help="tree, pg, usr, files-N, gib-N; pgcluster, mariadb, load")  # fmt: skip
    parser.add_argument("--entries", type=int, default=116_000, help="of tree")
    parser.add_argument("--scale", type=int, default=180, help="of pgbench, 15 MiB each")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of each table of MariaDB")
    parser.add_argument("--rate", default="20MiB/s", help="of load's throttle")
    parser.add_argument("--tools", nargs="+", help="only these")
    parser.add_argument("--s3", type=float, metavar="MS", help="on an S3 server so far away")
    parser.add_argument("--answers", action="store_true", help="only how quickly drctl answers")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg")
    return parser.parse_args()


def data_of(name: str, options: argparse.Namespace) -> Tree | Postgres | Own | Many | Large:
    if name == "usr":
        return Own()
    if name == "tree":
        return Tree(options.work, options.entries)
    if name == "pg":
        return Postgres(options.work, options.scale)
    kind, _, number = name.partition("-")
    return Many(options.work, int(number)) if kind == "files" else Large(options.work, int(number))


def start_s3(work: Path, delay_ms: float, stack: ExitStack) -> S3:
    """SeaweedFS, and the proxy before it. Both end with the run, however that ends."""
    folder = work / "s3"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "s3.json").write_text(
        f'{{"identities": [{{"name": "bench", "credentials": [{{"accessKey": "{ACCESS}",'
        f'"secretKey": "{SECRET}"}}], "actions": ["Admin", "Read", "Write", "List"]}}]}}'
    )
    first, port, far = free_ports()
    names = ("master", "volume", "filer", "s3")
    ports = [f"-{name}.port={first + i}" for i, name in enumerate(names)]
    argv = ["weed", "server", f"-dir={folder}", "-ip=127.0.0.1", *ports, "-filer", "-s3",
            "-s3.port.iceberg=0", "-s3.port.lance=0",  # these would be the same for all
            f"-s3.config={folder}/s3.json", "-volume.max=60",
            "-master.volumeSizeLimitMB=1000"]  # fmt: skip
    proxy = [sys.executable, "-m", "benchmark.proxy", str(far), str(port), str(delay_ms),
             "127.0.0.1", str(folder / "count")]  # fmt: skip
    for command in (argv, proxy) if delay_ms else (argv,):
        log = stack.enter_context((folder / f"{command[0].rpartition('/')[2]}.log").open("wb"))
        process = subprocess.Popen(ending_with_us(command), stdout=log, stderr=log)
        stack.callback(process.wait)
        stack.callback(process.kill)  # what it stored is thrown away
    endpoint = f"http://127.0.0.1:{far if delay_ms else port}"
    wait_for(endpoint, folder)
    return S3(endpoint, ACCESS, SECRET, folder / "count")


def free_ports() -> tuple[int, int, int]:
    """The first of four for the server, of which the last is S3's; that one; the proxy's. The
    server also listens ten thousand above each."""
    for first in range(18300, 20000, 10):
        with ExitStack() as stack:
            try:
                for i in range(5):
                    for port in (first + i, first + i + 10_000):
                        listener = stack.enter_context(socket.socket())
                        listener.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody has one of them
            return first, first + 3, first + 4
    raise SystemExit("bench: no free ports for an S3 server")


def wait_for(endpoint: str, folder: Path) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(endpoint, timeout=5)  # noqa: S310 - our own server
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"bench: the S3 server does not answer; see {folder}")


def bench(
    name: str, options: argparse.Namespace, s3: S3 | None, result: dict[str, object]
) -> tuple[report.Samples, dict]:
    """All rounds on one kind of data. What is known after each one is kept, if that is wanted."""
    data = data_of(name, options)
    data.make()
    kinds = [t for t in (REMOTE if s3 else LOCAL) if not options.tools or t.name in options.tools]
    samples: report.Samples = {kind.name: {step: [] for step in report.STEPS} for kind in kinds}
    sizes: dict[str, float] = {}
    for i in range(options.runs):
        print(f"bench: {data.name}, round {i + 1} of {options.runs}", file=sys.stderr, flush=True)
        now = [kind for kind in kinds if i < kind.rounds]
        first = i % len(now)
        turns = now[first:] + now[:first]
        one_round(turns, options.work / f"round-{i}", data, s3, samples, sizes)
        found = {"sizes": sizes, "mib": measure.tree_mib(data.path), "title": data.name}
        result[name] = report.document(samples, sizes, found["mib"])
        if options.json:
            report.write_json(options.json, result)
    if isinstance(data, Many | Large):
        shutil.rmtree(data.path)
    return samples, found


def online(name: str, options: argparse.Namespace, result: dict[str, object]) -> str:
    """All rounds on a database that runs."""
    work = options.work
    data = MariaDB(work, options.rows) if name == "mariadb" else Running(work, options.scale)
    data.make()
    contest = Contest(data, options.tools, work)
    for number in range(options.runs):
        contest.round(number)
        result[name] = contest.document()
        if options.json:
            report.write_json(options.json, result)
    mib = measure.tree_mib(data.path)
    return report.online_table(data.name, contest.samples, STEPS, contest.sizes, mib)


def one_round(kinds, work, data, s3, samples, sizes) -> None:
    """The tools take turns at every step, and the next round another begins. The data is warm."""
    shutil.rmtree(work, ignore_errors=True)
    tools = [kind(work / f"{kind.name.split()[0]}-work", data.path, s3) for kind in kinds]
    for tool in tools:
        tool.prepare()
    subprocess.run(["sh", "-c", 'tar -C "$0" -cf - . | cat >/dev/null', str(data.path)], check=True)

    def measured(step: str, tool: Tool, argv: list[str], touched_mib: float = 1024) -> None:
        before = s3.requests() if s3 else 0
        sample = measure.run(argv, tool.environment, tool.work / "log", touched_mib)
        requests = s3.requests() - before if s3 else 0
        samples[tool.name][step].append(replace(sample, requests=requests))

    for tool in tools:
        measured("first", tool, tool.backup())
        sizes[tool.name] = s3.stored_mib(tool.bucket) if s3 else measure.tree_mib(tool.repository())
    full = [tool for tool in tools if tool.name != "tar+zstd"]
    for tool in full:
        measured("unchanged", tool, tool.backup())
    data.change()
    for tool in full:
        measured("changed", tool, tool.backup())
    touched_mib = 1024 + measure.tree_mib(data.path)
    for tool in tools:
        measured("restore", tool, tool.restore(work / "back"), touched_mib)
        if isinstance(tool, Drctl) and work.name == "round-0":
            prove(data.path, work / "back")
        shutil.rmtree(work / "back")
    for tool in full:
        measured("verify", tool, tool.verify())
    shutil.rmtree(work)


def prove(before: Path, after: Path) -> None:
    """What was measured must be right, or it is worth nothing."""
    argv = ["rsync", "-nacHAX", "--delete", "--itemize-changes", f"{before}/", f"{after}/"]
    found = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if found:
        raise SystemExit(f"bench: what came back differs:\n{found[:2000]}")


def main() -> None:
    options = arguments()
    end_when_told()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.answers:
        answers(options.work / "answers")
        return
    result: dict[str, object] = {"versions": versions(options.data)}
    pictured: dict[str, report.Samples] = {}
    with ExitStack() as stack:
        s3 = None if options.s3 is None else start_s3(options.work, options.s3, stack)
        for name in options.data:
            if name == "load":
                found = load.measure(options.work, options.scale, options.runs, options.rate)
                result["load"] = found
                print(load.table(found, options.rate), flush=True)
                continue
            if name in ONLINE:
                print(online(name, options, result), flush=True)
                continue
            samples, found = bench(name, options, s3, result)
            pictured[found["title"]] = samples
            print(report.table(found["title"], samples, found["sizes"], found["mib"]), flush=True)
    if options.picture and pictured:
        report.picture(options.picture, pictured)


main()
