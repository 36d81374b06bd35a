"""What a recovery consists of: steps, and which must be over before which."""

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from drctl.circles import find_circle
from drctl.ops.recovery.look import Look

Mode = Literal["drill", "failover", "planned", "failback"]
Kind = Literal["restore", "prove", "run", "check", "approval", "wait", "notify"]
OnFailure = Literal["stop", "continue", "undo"]

MODES: tuple[Mode, ...] = ("drill", "failover", "planned", "failback")


class Step(Struct, frozen=True):
    """`asset` of a restore or a proof; `words` are an argv, a message, a role, or the seconds of a
    wait; `looks` of a proof or a check. `when`: the modes that it belongs to, none of them meaning
    all. `undo` is an argv, or empty; `env` are variables that its programs get from drctl's own."""

    name: str
    kind: Kind
    after: tuple[str, ...] = ()
    asset: str = ""
    words: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()
    env: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    when: tuple[Mode, ...] = ()
    timeout_seconds: float = 3600.0
    retries: int = 0
    on_failure: OnFailure = "stop"


class Graph(Struct, frozen=True):
    """The steps of one mode, in an order in which each stands behind all that it waits for."""

    steps: tuple[Step, ...]
    left_out: tuple[str, ...] = ()  # steps of other modes

    def __getitem__(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(step.name for step in self.steps)

    def before(self, name: str) -> set[str]:
        """The steps that are over when this one begins."""
        found: set[str] = set()
        to_look_at = [name]
        while to_look_at:
            new = set(self[to_look_at.pop()].after) - found
            found |= new
            to_look_at += new
        return found


def runs_programs(graph: Graph) -> bool:
    """Whether anything but drctl itself works in it."""
    asking = {"command", "http"}  # an address is asked by a program, too
    return any(
        step.kind == "run" or step.undo or any(look.kind in asking for look in step.looks)
        for step in graph.steps
    )


def graph(steps: Iterable[Step], mode: Mode) -> Graph:
    """The steps that apply in a mode. What waits for one that does not apply waits for whatever
    that one would have waited for. Raises ValueError naming a circle."""
    known = {step.name: step for step in steps}
    circle = find_circle({name: step.after for name, step in known.items()})
    if circle:
        raise ValueError(f"steps wait for each other: {' -> '.join(circle)}")
    applies = {name for name, step in known.items() if not step.when or mode in step.when}
    kept = [
        replace(step, after=_inherited(step, known, applies))
        for name, step in known.items()
        if name in applies
    ]
    return Graph(_sorted(kept), tuple(name for name in known if name not in applies))


def _inherited(step: Step, known: Mapping[str, Step], applies: set[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in step.after:
        if name in applies:
            found[name] = None
        else:
            found.update(dict.fromkeys(_inherited(known[name], known, applies)))
    return tuple(found)


def _sorted(steps: list[Step]) -> tuple[Step, ...]:
    """As they were written, but for those that stand before what they wait for."""
    placed: dict[str, Step] = {}
    waiting = list(steps)
    while waiting:
        ready = [step for step in waiting if all(name in placed for name in step.after)]
        placed.update({step.name: step for step in ready})
        waiting = [step for step in waiting if step.name not in placed]
    return tuple(placed.values())
