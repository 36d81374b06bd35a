"""Ways in which a repository could come to be silently wrong, each tried on purpose."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_site import History, Recorded, Site, make_history, memory_of, random_tree, write_tree

from drctl.clock import SystemClock
from drctl.errors import IntegrityError, NotFound, StorageError
from drctl.events import Event, Notice, Silent
from drctl.ops.prune import Effort, prune
from drctl.ops.replicate import replicate
from drctl.repository import lifecycle, names, rewrite
from drctl.repository.retention import Rule
from drctl.repository.runs import Run
from drctl.repository.state import StateFile
from drctl.storage.base import Storage
from drctl.storage.local import Local
from drctl.storage.memory import Memory


@pytest.fixture
def own(tmp_path: Path, pool) -> History:
    """A history that the test may change the live tree of."""
    first = random_tree(21, 5, 900)
    return make_history(Site(tmp_path, pool), first, {**first, **random_tree(22, 3, 900)})


def files_of(history: History, top: Path) -> Local:
    """The repository on a disk."""
    local = Local(str(top))
    local.create()
    for name, data in history.objects.items():
        local.put(name, data)
    return local


class Meanwhile(Recorded):
    """Does something, once, before the first call of `method` for `name`."""

    def __init__(self, inner: Storage, method: str, name: str, deed) -> None:
        super().__init__(inner)
        self.awaited = method, name
        self.deed = deed

    def noted(self, method: str, name: str) -> None:
        if self.deed and (method, name) == self.awaited:
            deed, self.deed = self.deed, None
            deed()


class Told:
    """Remembers what a run reports."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.text)


# -- two at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", names.COPY_ORDER)
def test_a_copy_made_during_a_backup_holds_no_snapshot_without_its_packs(own, folder) -> None:
    storage, copy = own.storage(), Memory()
    write_tree(own.site.live, random_tree(23, 4, 900))
    meanwhile = Meanwhile(storage, "list", folder, lambda: own.site.backup(storage))
    replicate(meanwhile, copy, own.site.pool, Silent())
    assert meanwhile.deed is None
    assert own.site.verified(copy) == []
    for snapshot in own.site.snapshots(copy):
        own.site.restored(copy, snapshot.name)
    replicate(storage, copy, own.site.pool, Silent())
    assert len(own.site.snapshots(copy)) == 3


@pytest.mark.parametrize("folder", ["index/", "packs/", "sessions/", "snapshots/", ""])
def test_a_verification_during_a_backup_raises_no_false_alarm(own, folder) -> None:
    storage = own.storage()
    write_tree(own.site.live, random_tree(24, 4, 900))
    meanwhile = Meanwhile(storage, "list", folder, lambda: own.site.backup(storage))
    assert own.site.verified(meanwhile) == []
    assert meanwhile.deed is None


class Scrubbed(Recorded):
    """Does something, once, when a verification has listed all that it will read; it reads nothing
    before that is done."""

    def __init__(self, inner: Storage, deed) -> None:
        super().__init__(inner)
        self.deed = deed
        self.is_listed = False
        self.doing = threading.Lock()

    def noted(self, method: str, name: str) -> None:
        self.is_listed |= (method, name) == ("list", "")
        with self.doing:
            if self.is_listed and method == "get" and self.deed:
                deed, self.deed = self.deed, None
                deed()


def pruned(own: History, storage: Storage, keep: int, grace_seconds: float) -> None:
    opened = lifecycle.open_as_writer(storage, own.site.credential, os.urandom)
    effort = Effort(grace_seconds, 0, 1 << 30)
    with ThreadPoolExecutor(2) as pool:
        prune(opened, Rule(last=keep), effort, pool, SystemClock(), Silent())


def test_what_ends_or_is_pruned_during_a_verification_is_no_damage(own) -> None:
    storage = own.storage()
    shutil.rmtree(own.site.live)
    for seed in (27, 28):
        write_tree(own.site.live, random_tree(seed, 4, 900))
        own.site.backup(storage)
    pruned(own, storage, 2, 3 * 86_400)
    run = Run(storage, os.urandom, SystemClock(), reviving=False)

    def all_that_may_go() -> None:
        run.end()
        pruned(own, storage, 2, 0)
        pruned(own, storage, 1, 3 * 86_400)

    before = set(memory_objects(storage))
    assert own.site.verified(Scrubbed(storage, all_that_may_go)) == []
    gone = {name.split("/")[0] for name in before - set(memory_objects(storage))}
    assert gone >= {"runs", "trash", "snapshots", "refs", "packs", "index", "sessions"}
    assert own.site.verified(storage) == []


@pytest.mark.parametrize("kind", ["config", "keys/", "sessions/", "packs/", "refs/", "snapshots/"])
def test_what_is_lost_during_a_verification_is_told(own, kind) -> None:
    storage = own.storage()
    needed = next(name for name in reversed(own.objects) if name.startswith(kind))
    wrong = own.site.verified(Scrubbed(storage, lambda: storage.delete(needed)))
    assert any(needed in what for what in wrong)


@pytest.mark.parametrize("folder", ["index/", "packs/", "sessions/"])
def test_backups_at_once_from_two_hosts_both_come_back(own, folder) -> None:
    storage = own.storage()
    tree = {**own.trees[own.newest], **random_tree(25, 4, 900)}
    write_tree(own.site.live, tree)
    other = Meanwhile(storage, "list", folder, lambda: own.site.backup(storage, "other-host"))
    own.site.backup(other)
    assert len(own.site.snapshots(storage)) == 4
    own.must_be_whole(storage)
    for snapshot in own.site.snapshots(storage)[2:]:
        assert own.site.restored(storage, snapshot.name) == tree


# -- copies ---------------------------------------------------------------------------------------


def test_a_copy_of_another_repository_is_left_as_it_is(own, pool, tmp_path) -> None:
    """The first repository was lost and made anew; its old copy is all that there is."""
    anew = Site(tmp_path / "anew", pool)
    write_tree(anew.live, random_tree(26, 3, 900))
    made = anew.new_repository()
    anew.backup(made)
    copy = own.storage()
    with pytest.raises(StorageError, match="another repository"):
        replicate(made, copy, pool, Silent())
    assert memory_objects(copy) == own.objects


def test_what_a_prune_stores_anew_at_the_source_meanwhile_comes_with_the_snapshots(own) -> None:
    """A first copy may last longer than the grace period: packs that were listed are gone then."""
    storage, copy = own.storage(), Memory()
    packs = list(storage.list(names.PACKS))

    def rewritten() -> None:
        opened = lifecycle.open_as_writer(storage, own.site.credential, os.urandom)
        sealed = [
            (segment, storage.get(info.name, segment.offset, segment.stored_bytes))
            for info in reversed(packs)
            for segment in opened.read_toc(info).segments
        ]
        rewrite.put_index(opened, rewrite.pack_anew(opened, sealed))
        for info in packs:
            storage.delete(info.name)
        storage.put(names.CLOCK, b"")

    replicate(Meanwhile(storage, "get", packs[0].name, rewritten), copy, own.site.pool, Silent())
    own.must_be_whole(copy)


def memory_objects(storage: Memory) -> dict[str, bytes]:
    return {info.name: storage.get(info.name) for info in storage.list()}


def test_one_damaged_object_keeps_no_other_from_being_copied(own) -> None:
    for name, data in own.objects.items():
        copy = Memory()
        source = memory_of({**own.objects, name: data[:-2]})
        with pytest.raises(IntegrityError, match=name):
            replicate(source, copy, own.site.pool, Silent())
        assert set(memory_objects(copy)) == set(own.objects) - {name}


@pytest.mark.parametrize("collects", [True, False])
def test_what_a_prune_takes_at_the_source_meanwhile_ends_no_replication(own, collects) -> None:
    """Else a first copy over a slow line, beside a prune each night, would end each night. Where
    nobody prunes it was lost."""
    storage, copy, data = own.storage(), Memory(), b"of a run that was killed"
    needless = names.hashed(names.PACKS, data)
    storage.put(needless, data)
    if collects:
        storage.put(names.CLOCK, b"")
    meanwhile = Meanwhile(storage, "get", needless, lambda: storage.delete(needless))
    if not collects:
        with pytest.raises(NotFound, match=needless):
            replicate(meanwhile, copy, own.site.pool, Silent())
        return
    done = replicate(meanwhile, copy, own.site.pool, Silent())
    assert done.objects == len(own.objects)
    own.must_be_whole(copy)


def test_a_config_is_never_made_over_the_keys_of_another_repository(own, tmp_path, pool) -> None:
    left = memory_of({n: data for n, data in own.objects.items() if n != names.CONFIG})
    with pytest.raises(StorageError, match="of another repository"):
        lifecycle.create(left, Site(tmp_path, pool).credential, os.urandom)
    lifecycle.create(left, own.site.credential, os.urandom)
    own.must_be_whole(left)


# -- what a run leans on --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["packs/", "sessions/"])
@pytest.mark.parametrize("left_bytes", [0, 40, 0.5])
def test_a_backup_leans_on_nothing_that_is_cut_short(own, kind, left_bytes) -> None:
    for name, data in own.objects.items():
        if name.startswith(kind) and not (kind == "sessions/" and left_bytes == 0.5):
            kept = int(len(data) * left_bytes) if left_bytes < 1 else left_bytes
            storage = memory_of({**own.objects, name: data[:kept]})
            made = own.site.backup(storage, "new-state")
            assert own.site.restored(storage, made.name) == own.trees[own.newest]


def test_a_wrong_byte_in_the_state_never_reaches_a_snapshot(own) -> None:
    """The state is a help; whatever its bytes, what is saved is what is there, metadata too."""
    state = own.site.top / "state"
    for path in sorted(own.site.live.rglob("*")):  # old enough to be taken over unread
        os.utime(path, ns=(10**18, 10**18))
    honest = listing(own, own.storage())
    whole = state.read_bytes()
    for at in range(0, len(whole), 1 + len(whole) // 250):
        state.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert listing(own, own.storage()) == honest, f"byte {at}"


def listing(history: History, storage: Memory) -> list[object]:
    """Every entry of a new snapshot."""
    made = history.site.backup(storage)
    return list(history.site.entries(storage, made.name))


# -- what lies beside -----------------------------------------------------------------------------


def test_what_others_leave_in_a_repository_keeps_nobody_from_their_data(own, tmp_path) -> None:
    """A file server's, a copying tool's and a file system's own files."""
    top = tmp_path / "on-disk"
    local = files_of(own, top)
    pack = next(name for name in own.objects if name.startswith("packs/"))
    beside = ["lost+found/#1", "packs/.nfs0001", f"{pack}.partial", "snapshots/.DS_Store", "README"]
    beside += ["sessions/.rsync-tmp", "index/@eaDir/x", "packs/ab/@eaDir/thumb"]
    beside += ["\udce4rger", "packs/\udcff/x", "snapshots/\udcff", "log/\udcff"]  # in no encoding
    for name in beside:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"not ours")
    (top / "lost+found").chmod(0)
    made = own.site.backup(local)
    assert own.site.restored(local, made.name) == own.trees[own.newest]
    for name, tree in own.trees.items():
        assert own.site.restored(local, name) == tree
    copy = Memory()
    with pytest.raises(IntegrityError):
        replicate(local, copy, own.site.pool, Silent())
    own.must_be_whole(copy)
    wrong = own.site.verified(local)
    assert len(wrong) > 6
    assert "\n".join(wrong).isascii()


def test_a_directory_that_takes_the_place_of_the_repository_is_not_written_to(
    own, tmp_path
) -> None:
    """As when a disk is unmounted in the middle of a run."""
    top, away = tmp_path / "on-disk", tmp_path / "away"
    for folder in (names.PACKS, names.INDEX):
        local = files_of(own, top)

        def unmount() -> None:
            top.rename(away)
            top.mkdir()

        with pytest.raises(StorageError, match="taken the repository's place"):
            own.site.backup(Meanwhile(local, "list", folder, unmount))
        assert list(top.iterdir()) == []
        top.rmdir()
        away.rename(top)
        own.must_be_whole(local)
        shutil.rmtree(top)


# -- clocks, and disks of the host ----------------------------------------------------------------


def test_a_clock_that_went_back_is_told(own) -> None:
    state, told = own.site.top / "state", Told()
    later = os.stat(state).st_mtime + 3600
    os.utime(state, (later, later))
    own.site.backup(own.storage(), report=told)
    assert any("clock went back by 59m" in text or "1h" in text for text in told.notices)
    quiet = Told()
    own.site.backup(own.storage(), report=quiet)
    assert not any("clock" in text for text in quiet.notices)


def test_a_state_that_cannot_be_written_costs_no_snapshot(own, tmp_path) -> None:
    """/dev/full takes nothing; where the state should be there is a link to it."""
    (own.site.top / "full.new").symlink_to("/dev/full")
    storage, told = own.storage(), Told()
    made = own.site.backup(storage, "full", report=told)
    assert own.site.restored(storage, made.name) == own.trees[own.newest]
    assert any("the state cannot be written" in text for text in told.notices)
    assert list(StateFile(str(own.site.top / "full")).read()) == []
