"""Databases that run while they are copied: drctl beside what their users have today.

Each tool takes a first backup; then comes a load; then each takes the next backup, and restores it.
Server and tools share the machine. What a restored copy holds is compared by starting it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmark import measure, report
from benchmark.mydata import MariaDB
from benchmark.pgdata import Running
from benchmark.rivals import (
    DrctlMariadb,
    DrctlMariadbCopy,
    DrctlPostgres,
    Online,
    PgBackRest,
    Pipe,
)

STEPS = ("full", "after the load", "restore")
_TOOLS = {
    "pgcluster": (DrctlPostgres, PgBackRest),
    "mariadb": (DrctlMariadb, DrctlMariadbCopy, Pipe),
}


class Contest:
    """All rounds with one database."""

    def __init__(self, data: Running | MariaDB, wanted: list[str] | None, work: Path) -> None:
        self.data = data
        kinds = _TOOLS[data.name]
        self._kinds = [kind for kind in kinds if not wanted or kind.name in wanted]
        self._work = work
        self.samples: report.Samples = {k.name: {s: [] for s in STEPS} for k in self._kinds}
        self.sizes: report.Sizes = {kind.name: [] for kind in self._kinds}

    def round(self, number: int) -> None:
        """Every second round the other tool is the first."""
        print(f"bench: {self.data.name}, round {number + 1}", file=sys.stderr, flush=True)
        work = self._work / f"online-{number}"
        shutil.rmtree(work, ignore_errors=True)
        kinds = self._kinds[:: -1 if number % 2 else 1]
        tools = [kind(work / f"tool-{i}", self.data.path, self.data.socket)
                 for i, kind in enumerate(kinds)]  # fmt: skip
        with self.data.serving(self.data.path):
            for tool in tools:
                tool.prepare()
            self._warm()
            first = [self._backup(tool, "full", tool.backup()) for tool in tools]
            self.data.change()
            last = [self._backup(tool, "after the load", tool.again()) for tool in tools]
            state = self.data.state()
        for tool, before, after in zip(tools, first, last, strict=True):
            self.sizes[tool.name].append((before, after - before))
        for tool in tools:
            self._restore(tool, work / "back", state if number == 0 else "")
        shutil.rmtree(work)

    def _warm(self) -> None:
        line = 'tar -C "$0" -cf - . 2>/dev/null | cat >/dev/null'
        subprocess.run(["sh", "-c", line, str(self.data.path)], check=True)

    def _measured(
        self, step: str, tool: Online, argv: list[str], touched_mib: float = 1024
    ) -> None:
        sample = measure.run(argv, tool.environment, tool.work / "log", touched_mib)
        self.samples[tool.name][step].append(sample)

    def _backup(self, tool: Online, step: str, argv: list[str]) -> float:
        self._measured(step, tool, argv)
        return measure.tree_mib(tool.repository())

    def _restore(self, tool: Online, back: Path, state: str) -> None:
        touched_mib = 1024 + measure.tree_mib(self.data.path)
        self._measured("restore", tool, tool.restore(back), touched_mib)
        if state:
            tool.complete(back)
            self._prove(tool, back, state)
        shutil.rmtree(back)

    def _prove(self, tool: Online, back: Path, state: str) -> None:
        """What was measured must be right, or it is worth nothing."""
        with self.data.serving(back):
            found = self.data.state()
        if found != state:
            raise SystemExit(f"bench: {tool.name} brought back {found!r}, not {state!r}")

    def document(self) -> dict[str, object]:
        sizes = {name: [list(pair) for pair in found] for name, found in self.sizes.items()}
        mib = measure.tree_mib(self.data.path)
        return {**report.document(self.samples, {}, mib), "stored_mib": sizes}
