"""What the stories of the removing protocol share: worlds with logs, and instants to stop at."""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from stepped import Actor, AtOnce
from test_collect import DAY, Time
from test_interleavings import (
    Work,
    World,
    begin,
    prunes,
)
from test_repository import Source, Tree

from drctl.codec.logpiece import stream_id
from drctl.events import Silent
from drctl.ops.backup import Around, Asset, backup
from drctl.repository import holds, names
from drctl.repository.log import LogWriter, session_of
from drctl.repository.repository import Repository
from drctl.repository.state import StateFile
from drctl.storage.base import ObjectInfo


def found(world: World, folder: str) -> list[str]:
    return sorted(names.digest_of(info.name) for info in world.storage.list(folder))


def until(actor: Actor, is_so: Callable[[], object]) -> None:
    """Let it go on to the first instant at which something is so."""
    while not actor.is_done and not is_so():
        actor.step()
    assert not actor.is_done


def hold(world: World, digest: str) -> None:
    holds.put(world.open(), digest, "the auditor wants it", 0)


def steps_until(world: World, work: Work, is_so: Callable[[World], object]) -> int:
    """How many calls a work makes up to the one that makes something so."""
    here = world.clone()
    actor, steps = begin(here, work), 0
    while not is_so(here):
        actor.step()
        steps += 1
        assert not actor.is_done
    actor.kill()
    return steps


def has_more(world: World, folder: str) -> Callable[[World], object]:
    before = set(found(world, folder))
    return lambda here: set(found(here, folder)) - before


def collected(world: World, times: int = 2) -> None:
    """Days pass, and somebody marks and sweeps who takes everybody for dead."""
    for _ in range(times):
        world.time.seconds += 3 * DAY
        prunes(0, 0)(world, world.open())


def packs_of(world: World) -> list[ObjectInfo]:
    return list(world.storage.list(names.PACKS))


def with_log(world: World) -> None:
    """Two snapshots of a database whose log is stored from file 1 to file 5."""
    writer = LogWriter(world.open(), stream_id(world.open().secrets, "db", "7"))
    for file in "12345":
        writer.append(file, 0, file.encode(), whole=True)
    for first in "42":
        back_up_database(world, world.open(), writer.stream, first)


def back_up_database(world: World, repository: Repository, stream: str, first: str) -> None:
    """One whose restore goes on with the log from a file on."""
    tree: Tree = {b"%s" % first.encode(): bytes(900)}
    source = Source(tree)
    source.facts = {"log_stream": stream, "log_first": first}
    source.consistent_at_ns = world.time.now_ns()
    tag = str(len(world.trees))
    world.trees[tag] = tree
    state = StateFile(str(world.folder / "none" / tag))
    around = Around(repository, state, AtOnce(), Time(), Silent())
    backup(Asset(f"db {first}", "files", source, level=1, tags=(tag,)), around)


def log_files(world: World) -> list[str]:
    return sorted(info.name.split("/")[2][0] for info in world.storage.list(names.LOG))


def writer_of(world: World, files: str, repository: Repository | None = None) -> LogWriter:
    opened = repository or world.open()
    made = LogWriter(opened, stream_id(opened.secrets, "db", "7"))
    for file in files:
        made.append(file, 0, file.encode(), whole=True)
    return made


def log_sessions(world: World) -> set[str]:
    """Those that stored pieces need."""
    return {session_of("", info.name) for info in world.storage.list(names.LOG)}


def pruned_for_good(world: World) -> None:
    for _ in range(2):
        world.time.seconds += 3 * DAY
        prunes(0, 0, keep=9)(world, world.open())
