"""Faulty storage at call n, for every n of a backup, a restore, a verification and a replication.

What must hold after each: every earlier snapshot comes back byte for byte, the next run completes,
and what was damaged is an error that names the object, or a right answer. Used by the tests on a
tiny repository, and by scripts/torture on a larger one.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from small_site import History, Kept, Tree, Waiting, objects_of

from drctl.errors import DrctlError
from drctl.events import Silent
from drctl.ops.replicate import replicate
from drctl.repository import names
from drctl.storage.base import Storage
from drctl.storage.faulty import Fault, Faulty
from drctl.storage.memory import Memory
from drctl.storage.retry import Retry

NAMES_AN_OBJECT = re.compile(
    r"config|(keys|sessions|packs|index|refs|snapshots)/|there is no drctl repository"
    r"|as it was told to|segments that it needs"
)
# What a second try mends: the fault is gone by then.
PASSING = {Fault.FAIL_ONCE, Fault.LOSE_ANSWER, Fault.DELAY}
STORES_DAMAGE = {Fault.FLIP, Fault.TRUNCATE}


def restores_right_or_tells(history: History, storage: Storage, name: str, tree: Tree) -> str:
    """What a restore says, "" when all of it is back. Any wrong byte fails here, and so does an
    error of a kind that drctl does not know, or one that does not say what it is about."""
    kept = Kept()
    try:
        done = history.site.restore(storage, name, kept)
    except DrctlError as error:
        told = error.what
    else:
        told = "; ".join(problem.what for problem in done.problems)
        assert (done.damaged > 0) == bool(told)
    for path, content in kept.files.items():
        assert content == tree[path], f"wrong data in {path}"
    if not told:
        assert kept.files.keys() == tree.keys()
    assert not told or NAMES_AN_OBJECT.search(told), f"names no object: {told}"
    return told


def verification_tells(history: History, storage: Storage) -> str:
    """Everything that a verification finds wrong; each must name an object."""
    try:
        wrong = history.site.verified(storage)
    except DrctlError as error:
        wrong = [error.what]
    assert all(NAMES_AN_OBJECT.search(one) for one in wrong), f"names no object: {wrong}"
    return "; ".join(wrong)


@dataclass(frozen=True)
class Case:
    """A fault at call `at` of a deed, below the wrapper that tries again, or without it."""

    deed: str
    fault: Fault
    at: int
    is_retried: bool

    def __str__(self) -> str:
        return f"{self.deed}, {self.fault.name}, call {self.at}, retried: {self.is_retried}"

    def around(self, storage: Storage) -> Storage:
        faulty = Faulty(storage, self.fault, self.at)
        return Retry(faulty, Waiting(), attempts=3) if self.is_retried else faulty

    @property
    def must_succeed(self) -> bool:
        return self.fault is Fault.DELAY or (self.is_retried and self.fault in PASSING)


class Sweep:
    """`third` is the live tree, of which there is no snapshot yet."""

    def __init__(self, history: History, third: Tree, folder: Path) -> None:
        self.history = history
        self.site = history.site
        self.third = third
        self.folder = folder
        self.deeds: dict[str, Callable[[Case], str]] = {
            "backup": self._backup,
            "restore": self._restore,
            "verify": self._verify,
            "replicate from": self._replicate_from,
            "replicate to": self._replicate_to,
        }

    def cases(self, deed: str) -> Iterator[Case]:
        """Every fault at every call, both ways."""
        for at in range(self.calls(deed)):
            for fault in Fault:
                for is_retried in (False, True):
                    yield Case(deed, fault, at, is_retried)

    def calls(self, deed: str) -> int:
        """How many calls the deed makes when all is well, and at least one more."""
        storage = Faulty(self.history.storage(), Fault.FAIL, 1 << 30)
        if deed == "backup":
            self._backed_up(storage)
        elif deed == "restore":
            self.site.restored(storage, self.history.newest)
        elif deed == "verify":
            self.site.verified(storage)
        elif deed == "replicate from":
            replicate(storage, Memory(), self.site.pool, Silent())
        else:
            storage = Faulty(Memory(), Fault.FAIL, 1 << 30)
            replicate(self.history.storage(), storage, self.site.pool, Silent())
        return storage.seen + 1

    def run(self, case: Case) -> str:
        """What came of it: "done", or the kind of error. Raises AssertionError."""
        came = self.deeds[case.deed](case)
        assert came == "done" or not case.must_succeed, f"{case}: {came}"
        return came

    # -- deeds --------------------------------------------------------------------------------

    def _backed_up(self, storage: Storage) -> str:
        """A run of a host that remembers what it remembered after the second snapshot."""
        shutil.copy(self.site.top / "state", self.folder / "state")
        return self.site.backup(storage, str(self.folder / "state")).name

    def _backup(self, case: Case) -> str:
        storage = self.history.storage()
        before = set(objects_of(storage))
        came = _outcome(lambda: self._backed_up(case.around(storage)))
        trees = {**self.history.trees, **self._news(storage, before)}
        is_damaged = case.fault in STORES_DAMAGE and bool(verification_tells(self.history, storage))
        self._all_come_back(storage, trees, before if is_damaged else None)
        made = self._backed_up(storage)
        if not is_damaged:
            self.history.must_be_whole(storage)
            assert self.site.restored(storage, made) == self.third
            return came
        restores_right_or_tells(self.history, storage, made, self.third)
        self._all_come_back(storage, trees, before)
        return came

    def _news(self, storage: Memory, before: set[str]) -> dict[str, Tree]:
        """Snapshots of the live tree: also a run that was told to have failed may have one."""
        added = {info.name for info in storage.list(names.SNAPSHOTS)} - before
        return {names.digest_of(name): self.third for name in added}

    def _all_come_back(
        self, storage: Memory, trees: dict[str, Tree], is_old: set[str] | None
    ) -> None:
        """With `is_old`, only snapshots among these must; the others may tell of damage."""
        for name, tree in trees.items():
            if is_old is None or names.SNAPSHOTS + name in is_old:
                assert self.site.restored(storage, name) == tree
            else:
                restores_right_or_tells(self.history, storage, name, tree)

    def _restore(self, case: Case) -> str:
        storage, name = self.history.storage(), self.history.newest
        told = restores_right_or_tells(
            self.history, case.around(storage), name, self.history.trees[name]
        )
        assert objects_of(storage) == self.history.objects
        return "told" if told else "done"

    def _verify(self, case: Case) -> str:
        storage = self.history.storage()
        told = verification_tells(self.history, case.around(storage))
        assert objects_of(storage) == self.history.objects
        return "told" if told else "done"

    def _replicate_from(self, case: Case) -> str:
        return self._replicated(case, case.around(self.history.storage()), copy := Memory(), copy)

    def _replicate_to(self, case: Case) -> str:
        copy = Memory()
        return self._replicated(case, self.history.storage(), case.around(copy), copy)

    def _replicated(self, case: Case, source: Storage, target: Storage, copy: Memory) -> str:
        came = _outcome(lambda: replicate(source, target, self.site.pool, Silent()))
        damaged = {n for n, data in objects_of(copy).items() if data != self.history.objects[n]}
        for info in copy.list(names.SNAPSHOTS):
            name = names.digest_of(info.name)
            told = restores_right_or_tells(self.history, copy, name, self.history.trees[name])
            assert not told or damaged or came == "IntegrityError", f"{case}: {told}"
        if damaged:
            assert verification_tells(self.history, copy), f"{case}: nobody noticed {damaged}"
        for name in damaged:
            copy.delete(name)  # what whoever was told of it would do
        replicate(self.history.storage(), copy, self.site.pool, Silent())
        assert objects_of(copy) == self.history.objects
        return came


def _outcome(deed: Callable[[], object]) -> str:
    try:
        deed()
    except DrctlError as error:
        assert error.what  # noqa: PT017 - any of ours is right that says something
        return type(error).__name__
    return "done"
