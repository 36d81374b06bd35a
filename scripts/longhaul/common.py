"""What the parts of the long haul share."""

from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from small_site import History, Site, make_history, random_tree


@dataclass
class Haul:
    """One part: its directory, and how much of it was asked for. `where`: what is being tried, for
    when it fails."""

    top: Path
    pool: Executor
    seed: int
    kills: int
    step: int
    fuzz_seconds: int
    where: str = ""

    def history(self, name: str, files: int, most_bytes: int, large_bytes: int = 0) -> History:
        """A repository with two snapshots."""
        first = random_tree(self.seed, files, most_bytes, large_bytes)
        second = {**first, **random_tree(self.seed + 1, files // 2, most_bytes)}
        return make_history(Site(self.top / name, self.pool), first, second)
