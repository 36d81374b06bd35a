"""Each step of the removing protocol that keeps logs and their sessions does something: without it,
one of these fails."""

# ruff: noqa: F811 - fixtures are imported, and asked for by name
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from promises import (
    back_up_database,
    found,
    has_more,
    log_files,
    log_sessions,
    pruned_for_good,
    steps_until,
    until,
    with_log,
    writer_of,
)
from stepped import Actor, AtOnce, Stepped
from test_collect import DAY, Time
from test_interleavings import (  # noqa: F401
    World,
    begin,
    marked,
    prunes,
    replicates,
    small_packs,
    world,
)

from drctl.errors import StorageError
from drctl.ops.undelete import undelete
from drctl.repository import catalog, names, survey, trash
from drctl.repository.collect import sessions_of
from drctl.repository.log import LogWriter
from drctl.repository.repository import Repository


def test_a_log_is_kept_from_what_the_oldest_snapshot_needs(world: World) -> None:
    here = world.clone()
    with_log(here)
    for _ in range(2):
        here.time.seconds += 3 * DAY
        prunes(0, 0)(here, here.open())
    assert log_files(here) == ["2", "3", "4", "5"]


def test_of_a_log_that_no_snapshot_begins_the_newest_file_stays_once_it_is_old(
    world: World,
) -> None:
    here = world.clone()
    writer_of(here, "123")
    outlived = log_sessions(here)
    writer_of(here, "45")
    prunes(DAY, 0, keep=9)(here, here.open())
    assert not any(seen.mark.log for seen in trash.seen(here.open())), "a base may be under way"
    pruned_for_good(here)
    assert log_files(here) == ["5"]
    assert not outlived & set(found(here, names.SESSIONS))
    writer = writer_of(here, "67")
    back_up_database(here, here.open(), writer.stream, "5")
    pruned_for_good(here)
    assert log_files(here) == ["5", "6", "7"]


def test_a_log_whose_last_snapshot_comes_back_from_the_trash_is_kept(world: World) -> None:
    here = world.clone()
    with_log(here)
    digests = [d for d in found(here, names.SNAPSHOTS)
               if catalog.manifest(here.open(), d).facts.get("log_first")]  # fmt: skip
    for digest in digests:
        trash.keep_copy(here.storage, digest)
        here.storage.delete(names.SNAPSHOTS + digest)
    here.time.seconds += 3 * DAY
    prunes(DAY, 0, keep=9)(here, here.open())
    assert any(seen.mark.log for seen in trash.seen(here.open()))
    first = {catalog.manifest(here.open(), d, names.TRASHED).facts["log_first"]: d for d in digests}
    undelete(here.open(), first["2"], Time())
    pruned_for_good(here)
    assert log_files(here) == ["2", "3", "4", "5"]
    here.must_read_back()


@pytest.mark.parametrize("folder", [names.LOG, names.PACKS])
def test_what_the_storage_does_not_let_go_keeps_its_session(world: World, folder: str) -> None:
    """It was there, and nobody could open it."""
    here = world.clone()
    writer_of(here, "123")
    writer_of(here, "45")
    outlived = set(found(here, names.SESSIONS))
    prunes(DAY, 0)(here, here.open())
    delete = here.storage.delete

    def refuse(name: str) -> None:
        if name.startswith(folder):
            raise StorageError(f"{name} is kept here")
        delete(name)

    here.storage.delete = refuse  # type: ignore[method-assign]
    for _ in range(2):
        here.time.seconds += 3 * DAY
        prunes(DAY, 0)(here, here.open())
    opened = log_sessions(here) if folder == names.LOG else sessions_of_packs(here)
    assert len(opened & outlived) > 1
    assert opened <= set(found(here, names.SESSIONS))


def sessions_of_packs(world: World) -> set[str]:
    """Those that stored packs need."""
    packs = survey.look(world.open(), AtOnce()).packs.values()
    return set().union(*(sessions_of(use) for use in packs))


@pytest.mark.parametrize("days", [0, 3], ids=["is marked", "is gone"])
def test_a_run_taken_for_dead_does_not_commit_when_its_log_goes(world: World, days: int) -> None:
    here = world.clone()
    stream = writer_of(here, "12345").stream
    before = set(found(here, names.REFS))
    run = begin(here, lambda w, repository: back_up_database(w, repository, stream, "2"))
    until(run, lambda: set(found(here, names.REFS)) - before)
    back_up_database(here, here.open(), stream, "4")
    for _ in range(2):
        here.time.seconds += days * DAY
        prunes(0 if days else DAY, 0, keep=9)(here, here.open())
    for sign in found(here, names.WRITING):
        here.storage.delete(names.WRITING + sign)
    run.finish()
    assert isinstance(run.error, StorageError)
    assert log_files(here) == (["4", "5"] if days else list("12345"))


def test_a_replication_taken_for_dead_takes_back_a_snapshot_whose_log_is_cut(world: World) -> None:
    """At the copy nobody knew that the log was needed from file 2 on. The next one brings both."""
    source = world.clone()
    with_log(source)
    copy = source.clone()
    copy.before, copy.randomness = source, random.Random(12).randbytes
    lose_all_of_the_older(copy)
    steps = steps_until(copy, replicates, has_more(copy, names.SNAPSHOTS))
    run = begin(copy, replicates)
    run.step(steps - 1)
    for days in (0, 2):  # its refs are too young to be marked, but the log is needed by none
        copy.time.seconds += days * DAY
        prunes(DAY, 0)(copy, copy.open())
    assert log_files(copy) == ["4", "5"]
    run.finish()
    assert isinstance(run.error, StorageError)
    copy.must_read_back()
    replicates(copy, copy.open())
    assert found(copy, names.SNAPSHOTS) == found(source, names.SNAPSHOTS)
    assert log_files(copy) == ["2", "3", "4", "5"]


def lose_all_of_the_older(copy: World) -> None:
    """Of the two of `with_log`, the one that needs the log from file 2 on, and this log."""
    for digest in found(copy, names.SNAPSHOTS):
        manifest = catalog.manifest(copy.open(), digest)
        if manifest.facts.get("log_first") == "2":
            copy.storage.delete(names.SNAPSHOTS + digest)
            copy.storage.delete(names.REFS + manifest.refs)
    for info in list(copy.storage.list(names.LOG)):
        if info.name.split("/")[2][0] < "4":
            copy.storage.delete(info.name)


def test_a_run_taken_for_dead_commits_when_its_log_is_there_or_has_not_come_yet(
    world: World,
) -> None:
    for files, first in (("12345", "2"), ("12345", "6"), ("", "1")):
        here = world.clone()
        stream = writer_of(here, files).stream
        before = set(found(here, names.REFS))

        def work(w: World, repository: Repository, s: str = stream, f: str = first) -> None:
            back_up_database(w, repository, s, f)

        run = begin(here, work)
        until(run, lambda h=here, b=before: set(found(h, names.REFS)) - b)
        for sign in found(here, names.WRITING):
            here.storage.delete(names.WRITING + sign)
        run.finish()
        assert run.error is None


def test_a_log_s_session_goes_with_the_last_piece_that_needs_it(world: World) -> None:
    here = world.clone()
    stream = writer_of(here, "123").stream
    outlived = log_sessions(here)
    writer_of(here, "45")
    back_up_database(here, here.open(), stream, "4")
    pruned_for_good(here)
    assert log_files(here) == ["4", "5"]
    assert not outlived & set(found(here, names.SESSIONS))
    assert log_sessions(here) <= set(found(here, names.SESSIONS))


def test_a_session_whose_pieces_were_replaced_goes_and_a_young_one_stays(world: World) -> None:
    here = world.clone()
    writer_of(here, "").append("1", 0, b"the beg")
    needless = log_sessions(here)
    writer_of(here, "").append("1", 0, b"the beginning", whole=True)
    writer_of(here, "").clean("1")
    prunes(DAY, 0, keep=9)(here, here.open())
    assert not needless & {n for seen in trash.seen(here.open()) for n in seen.mark.sessions}
    pruned_for_good(here)
    assert not needless & set(found(here, names.SESSIONS))
    assert log_sessions(here) <= set(found(here, names.SESSIONS))


def test_a_session_that_refs_name_waits_for_its_pack_to_come_back(world: World) -> None:
    here = world.clone()
    for info in list(here.storage.list(names.PACKS)):
        here.storage.delete(info.name)
    before = found(here, names.SESSIONS)
    pruned_for_good(here)
    assert found(here, names.SESSIONS) == before


def test_no_session_goes_while_a_pack_does_not_tell_what_it_needs(world: World) -> None:
    here = marked(world)
    writer_of(here, "").append("1", 0, b"x")
    for info in list(here.storage.list(names.LOG)):
        here.storage.delete(info.name)
    before = found(here, names.SESSIONS)
    here.storage.put(names.hashed(names.PACKS, b"damaged"), bytes(99))
    pruned_for_good(here)
    assert found(here, names.SESSIONS) == before


def test_no_order_of_a_log_writer_and_a_sweep_leaves_a_piece_that_nobody_opens(
    world: World,
) -> None:
    start = world.clone()
    with_log_outlived(start)
    going = log_sessions(start)
    sweep = prunes(0, 0, keep=9)
    announced = steps_until(start, sweep, lambda here: found(here, names.SWEEPING))
    gone = steps_until(start, sweep, lambda here: not going & set(found(here, names.SESSIONS)))
    for calls in range(announced, gone + 2, 2):
        for paused_at in (1, 4, 1000):
            here = world.clone()
            with_log_outlived(here)
            writer = LATE.pop()
            pruning = begin(here, prunes(0, 0, keep=9))
            writing = Actor("log", lambda actor, w=writer, h=here: append_through(w, h, actor))
            pruning.step(calls)
            writing.step(paused_at)
            pruning.finish()
            writing.finish()
            assert writing.error is None
            assert log_files(here)[-2:] == ["6", "7"]
            assert log_sessions(here) <= set(found(here, names.SESSIONS)), (paused_at, calls)


LATE: list[LogWriter] = []


def with_log_outlived(world: World) -> None:
    """A writer that lives on, and all of whose pieces are marked."""
    LATE.append(writer_of(world, "12345"))
    back_up_database(world, world.open(), LATE[-1].stream, "6")
    world.time.seconds += 3 * DAY
    prunes(DAY, 0, keep=9)(world, world.open())
    world.time.seconds += 3 * DAY


def append_through(writer: LogWriter, world: World, actor: Actor) -> None:
    """The same writer, seen at each of its calls."""
    writer._repository.storage = Stepped(world.storage, actor)
    for file in "67":
        writer.append(file, 0, file.encode(), whole=True)
