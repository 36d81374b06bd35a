"""Where this host keeps what it remembers of a plan, apart from that of another of its name.

A copied plan, for staging, is called as production's. Who cancels the one's recovery must not
cancel the other's, nor may the one's evidence open the other's gate.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

from msgspec import Struct

from drctl.homes import state_home
from drctl.plan import LoadedPlan
from drctl.plan.model import RepositoryPart
from drctl.private import replace, write_new
from drctl.wiring import Wiring


class _Known(Struct, frozen=True):
    """A plan as this host knew it last: its file, empty for a kit's, and its repositories."""

    path: str
    places: frozenset[str]

    def is_gone(self) -> bool:
        """Whether nothing is left of it here: it was moved, or removed."""
        return not os.path.exists(self.path) and not any(
            place.startswith("s3 ") or os.path.exists(place) for place in self.places
        )

    def text(self) -> str:
        return json.dumps({"path": self.path, "places": sorted(self.places)}) + "\n"


def home_of(wiring: Wiring, kind: str) -> str:
    """The directory of what is kept of this plan: of this `kind`, below its name, or beside."""
    name = wiring.loaded.plan.name
    with suppress(OSError):  # where nothing can be written nothing is kept either
        name = _called(wiring)
    return os.path.join(state_home(), kind, name)


def _called(wiring: Wiring) -> str:
    """NAME for the first plan of that name, NAME~2 for the next. Raises OSError."""
    name, mine = wiring.loaded.plan.name, _known(wiring.loaded)
    found = dict(_all(name))
    own = _own(mine, found)
    if own is None:
        return _claim(wiring, mine, found)
    before = found[own]
    if mine != before and mine.path and (mine.path == before.path or before.is_gone()):
        replace(_record(own), mine.text())
    return own


def _own(mine: _Known, found: dict[str, _Known]) -> str | None:
    """The same file is the same plan, whatever became of it; else one that shares a repository,
    as a kit's does; else one that is here no more: a directory that was moved."""
    same = [name for name, known in found.items() if mine.path and known.path == mine.path]
    same += [name for name, known in found.items() if known.places & mine.places]
    return next(iter([*same, *(name for name, known in found.items() if known.is_gone())]), None)


def _claim(wiring: Wiring, mine: _Known, found: dict[str, _Known]) -> str:
    plan = wiring.loaded.plan.name
    name = _nth(plan, len(found) + 1)
    try:
        write_new(_record(name), mine.text())
    except FileExistsError:
        return _called(wiring)  # another run was quicker
    if found:
        wiring.warn(
            f"this host knows another plan '{plan}', {found[plan].path}: what is kept of the "
            f"recoveries and drills of this one lies apart, as '{name}'"
        )
    return name


def _all(plan: str) -> Iterator[tuple[str, _Known]]:
    for number in count(1):
        name = _nth(plan, number)
        try:
            with open(_record(name), encoding="utf-8") as file:
                read = json.load(file)
            known = _Known(str(read["path"]), frozenset(map(str, read["places"])))
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError):
            known = _Known("", frozenset())  # of a crash: whoever comes next takes it
        yield name, known


def _nth(plan: str, number: int) -> str:
    return plan if number == 1 else f"{plan}~{number}"


def _record(name: str) -> str:
    return os.path.join(state_home(), "plans", f"{name}.json")


def _known(loaded: LoadedPlan) -> _Known:
    path = os.path.abspath(loaded.path) if os.path.exists(loaded.path) else ""
    parts = loaded.plan.repositories.values()
    return _Known(path, frozenset(_place(loaded.base, part) for part in parts))


def _place(base: str, part: RepositoryPart) -> str:
    if part.path is not None:
        return os.path.realpath(os.path.join(base, part.path))
    assert part.s3 is not None  # noqa: S101 - the plan's checks saw to it
    return f"s3 {part.s3.endpoint} {part.s3.bucket} {part.s3.prefix}"
