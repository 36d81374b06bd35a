"""MariaDB: a base by mariadb-backup, its binlog, or a logical dump."""

from contextlib import AbstractContextManager

from drctl.engines.base import Capture, Engine, Surroundings, Target
from drctl.engines.mariadb_base import BaseSource
from drctl.engines.mariadb_client import Access, Settings
from drctl.engines.mariadb_dump import DumpSource
from drctl.engines.mariadb_loaded import hollow
from drctl.engines.mariadb_marker import Marker
from drctl.engines.mariadb_piped import PipedSource
from drctl.engines.mariadb_probe import Probe
from drctl.engines.mariadb_replay import choose
from drctl.engines.mariadb_restore import BaseTarget
from drctl.engines.mariadb_stream import Follower
from drctl.engines.tree_write import TreeTarget


class Source:
    """What the plan asks for; see engines.base.Source."""

    def __init__(self, settings: Settings, asset: str, around: Surroundings) -> None:
        self._settings = settings
        self._asset = asset
        self._around = around

    def open(self) -> AbstractContextManager[Capture]:
        access = Access(self._settings, self._around)
        if self._settings.dump:
            return DumpSource(access, self._asset, self._around).open()
        kind = PipedSource if self._settings.mode == "pipe" else BaseSource
        return kind(access, self._asset, self._around).open()


def target(_: Settings | None, to: str, facts: dict[str, str], around: Surroundings) -> Target:
    """Restores a base into the directory `to`, which a server then starts on; or a dump's files."""
    if facts.get("form") == "dump":
        return TreeTarget(to)
    return BaseTarget(to, facts, around)


ENGINE = Engine(
    "mariadb",
    Settings,
    Source,
    target,
    Probe,
    Marker,
    follower=Follower,
    in_order=False,
    late_mode="pipe",
    has_log=True,
    choose=choose,
    hollow=hollow,
)
