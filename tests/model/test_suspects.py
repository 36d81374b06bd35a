"""Whatever is backed up, pruned, forgotten and brought back after an attack: unless somebody
accepts what it left, the last good snapshots stay."""

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

sys.path.insert(0, str(Path(__file__).parent))

from stepped import AtOnce
from test_collect import DAY, Time
from test_repository import Source, Tree

from drctl.codec.keys import WriterCredential, new_secrets
from drctl.codec.recipients import new_identity
from drctl.errors import StorageError
from drctl.events import Silent
from drctl.ops.backup import Around, Asset, backup
from drctl.ops.forget import forget
from drctl.ops.prune import Effort, prune
from drctl.ops.undelete import undelete
from drctl.repository import catalog, lifecycle, names
from drctl.repository.repository import Repository
from drctl.repository.retention import Rule
from drctl.repository.state import StateFile
from drctl.storage.base import ObjectInfo, Storage
from drctl.storage.faulty import Fault, Faulty
from drctl.storage.memory import Memory

KEPT, GRACE = 3, 3 * DAY
LEFT = b"99"  # as ransomware leaves the directory


class Unlisted(Faulty):
    """A storage that does not list its snapshots, and does all else."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner, Fault.FAIL, sys.maxsize)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if prefix == names.SNAPSHOTS:
            raise StorageError(f"{self.where}: {prefix} is not listed")
        return super().list(prefix)


class SuspectMachine(RuleBasedStateMachine):
    """`good`: the last ones before the attack, without those that somebody forgot since."""

    @initialize(renames=st.booleans(), files=st.integers(9, 14))
    def attacked(self, renames: bool, files: int) -> None:
        self.live_a_week(files)
        self.be_attacked(renames)
        self.back_up()
        assert self.listed()[-1].suspect

    def live_a_week(self, files: int) -> None:
        self.folder = TemporaryDirectory()
        self.chance = random.Random(files)
        self.time = Time()
        self.storage = Memory(self.time)
        identity = new_identity("reader", self.chance.randbytes)
        recipients = (identity.recipient(),)
        self.credential = WriterCredential(new_secrets(self.chance.randbytes), recipients)
        lifecycle.create(self.storage, self.credential, self.chance.randbytes)
        self.live: Tree = {b"%02d" % n: b"%d, in plain text\n" % n * 100 for n in range(files)}
        self.live[LEFT] = b"nobody wrote here\n"
        for day in range(7):
            self.live[b"00"] = b"day %d\n" % day * 200
            self.back_up()
        self.good = {s.name for s in self.listed()[-KEPT:]}

    def be_attacked(self, renames: bool) -> None:
        self.live = {
            path + b".locked" * renames: self.chance.randbytes(len(data))
            for path, data in self.live.items()
            if path != LEFT
        } | {LEFT: self.live[LEFT]}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def open(self, storage: Storage | None = None) -> Repository:
        storage = storage or self.storage
        return lifecycle.open_as_writer(storage, self.credential, self.chance.randbytes)

    def listed(self) -> tuple[catalog.Snapshot, ...]:
        return catalog.load(self.open()).snapshots

    def removed(self) -> list[str]:
        return sorted(names.digest_of(info.name) for info in self.storage.list(names.TRASHED))

    # -- what is done ---------------------------------------------------------------------------

    @rule()
    def back_up(self) -> None:
        self.back_up_to(self.storage)

    def back_up_to(self, storage: Storage) -> None:
        self.time.seconds += 3_600
        source = Source(dict(self.live))
        source.consistent_at_ns = self.time.now_ns()
        state = StateFile(str(Path(self.folder.name) / "asset.state"))
        around = Around(self.open(storage), state, AtOnce(), self.time, Silent())
        backup(Asset("asset", "files", source, level=1), around)

    @rule()
    def back_up_while_nobody_can_tell_what_was_there(self) -> None:
        self.back_up_to(Unlisted(self.storage))

    @rule()
    def back_up_and_die_before_it_is_remembered(self) -> None:
        state = Path(self.folder.name) / "asset.state"
        before = shutil.copy2(state, state.with_suffix(".before"))
        self.back_up()
        shutil.move(before, state)

    @rule()
    def prune(self) -> None:
        effort = Effort(GRACE, 0, 1 << 30)
        prune(self.open(), Rule(last=KEPT), effort, AtOnce(), self.time, Silent())

    @rule()
    def days_pass_and_what_was_removed_is_gone(self) -> None:
        for _ in range(2):
            self.prune()
            self.time.seconds += GRACE + 60
        self.prune()

    @rule(back=st.integers(0, 8))
    def forget(self, back: int) -> None:
        """Rather one of the last."""
        listed = self.listed()
        if len(listed) > 1:
            name = listed[-1 - back % len(listed)].name
            forget(self.open(), name)
            self.good.discard(name)

    @rule()
    def forget_all_that_is_suspect(self) -> None:
        for one in self.listed():
            if one.suspect:
                forget(self.open(), one.name)

    @rule(which=st.integers(0, 100))
    def undelete(self, which: int) -> None:
        found = self.removed()
        if found:
            undelete(self.open(), found[which % len(found)], self.time)

    @rule(which=st.integers(0, 100))
    def one_more_is_encrypted(self, which: int) -> None:
        path = sorted(self.live)[which % len(self.live)]
        self.live[path] = self.chance.randbytes(len(self.live[path]))

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def the_last_good_ones_are_there(self) -> None:
        if hasattr(self, "good"):
            assert self.good <= {s.name for s in self.listed()}


def test_what_nobody_could_judge_is_no_good_one_and_is_judged_with_the_next() -> None:
    told = {}
    for attacked in (False, True):
        machine = SuspectMachine()
        machine.live_a_week(12)
        if attacked:
            machine.be_attacked(renames=False)
        machine.back_up_while_nobody_can_tell_what_was_there()
        machine.back_up()
        *_, unjudged, then = machine.listed()
        assert "could not be compared" in unjudged.suspect
        told[attacked] = then.suspect
        machine.teardown()
    assert told[False] == ""
    assert "12 of 13 entries are new or changed" in told[True]


TestSuspects = SuspectMachine.TestCase
TestSuspects.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
