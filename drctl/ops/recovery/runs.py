"""The runs of a plan's real recoveries: each a directory with what was decided and a journal."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from drctl.clock import Clock
from drctl.errors import UsageError
from drctl.ops.recovery.journal import Journal
from drctl.private import make_directory, write_new

_ORDER = "order.json"
Order = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """`order`: what was decided when it began, so that a resume decides nothing anew."""

    name: str
    order: Order
    journal: Journal

    @property
    def has_ended(self) -> bool:
        return any(event["event"] == "ended" for event in self.journal.events())


def begin(home: str, name: str, order: Order, clock: Clock) -> Run:
    """A new run. Its order is on the disk before anything is done."""
    directory = os.path.join(home, name)
    make_directory(directory)
    write_new(os.path.join(directory, _ORDER), json.dumps(order, indent=1) + "\n")
    return Run(name, order, Journal(directory, clock))


def newest(home: str, clock: Clock) -> Run:
    """The run that began last. Raises UsageError when there was none."""
    found = max(_all(home, clock), key=lambda run: run.name, default=None)
    if found is None:
        raise UsageError("there is no recovery here", hint="'drctl recover' begins one")
    return found


def _all(home: str, clock: Clock) -> Iterator[Run]:
    with suppress(FileNotFoundError):
        for name in os.listdir(home):
            directory = os.path.join(home, name)
            path = os.path.join(directory, _ORDER)
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    yield Run(name, json.load(file), Journal(directory, clock))
