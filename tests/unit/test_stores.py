"""A plan's repositories are let go of in time."""

import threading
from concurrent.futures import Executor
from types import SimpleNamespace
from typing import Any

import pytest

from drctl.events import Silent
from drctl.stores import Stores

MANY = 2000  # more than threads


class Dead:
    """A book of locks whose storage does not answer. Somebody has enough of that."""

    def __init__(self) -> None:
        self.answer, self.begun, self.asked = threading.Event(), threading.Event(), 0

    def hold(self, names: Any, work: Executor) -> list[str]:
        for _ in range(MANY):
            work.submit(self.ask)
        self.begun.wait()
        raise KeyboardInterrupt

    def ask(self) -> None:
        self.asked += 1
        self.begun.set()
        self.answer.wait()


def test_whoever_breaks_off_while_locks_are_held_waits_for_none_that_is_queued() -> None:
    dead = Dead()

    class Held(Stores):
        def _book(self, name: str) -> Any:
            return dead

    repository: Any = SimpleNamespace(storage=SimpleNamespace(list=lambda _: []), hold=None)
    loaded: Any = None
    Held(loaded, Silent())._holding("local", repository)
    try:
        with pytest.raises(KeyboardInterrupt):
            repository.hold([])
        assert dead.asked < MANY
    finally:
        dead.answer.set()
