"""A run that has ended, as it is told to those who were not there."""

import os
import re
from typing import Any

from msgspec import Struct, field

from drctl.cli.context import Context
from drctl.errors import DrctlError, WrongPassphrase
from drctl.private import PASSPHRASE
from drctl.wiring import Wiring

RUNS = frozenset({
    "backup", "stream", "replicate", "verify", "prune", "drill", "recover", "status", "gate",
})  # fmt: skip


_FIGURES = re.compile(r"(?<!\S)\d\S*\s?")
_MOST_ABOUT = 500


class Ended(Struct, frozen=True):
    """`subject`: what it was asked to work on, as typed; empty: everything. `what` and `hint` of
    the error that ended it, if one did; `document` is its result, where it came to one.
    `is_mistyped`: a person typed the passphrase, and wrong, which says nothing of anything."""

    wiring: Wiring
    command: str
    subject: str
    exit_code: int
    at_ns: int
    seconds: float
    what: str = ""
    hint: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    is_mistyped: bool = False

    def reasons(self) -> list[str]:
        """Why it did not end well, a sentence each."""
        d = self.document
        found = [self.what] if self.what else []
        found += [str(text) for key in ("reasons", "wrong") for text in d.get(key, ())]
        found += [f"{name}: {error['what']}" for name, error in d.get("failed", {}).items()]
        suspect = [s for s in d.get("snapshots", ()) if s.get("suspect")]
        found += [f"{s['asset']} is SUSPECT: {s['suspect']}" for s in suspect]
        behind = d.get("copies_behind", {})
        found += [f"{name} is behind: {what}" for name, what in behind.items()]
        found += [todo["what"] for todo in d.get("to_do", ())]
        found += [told for told in self.wiring.lapsed().values() if told not in found]
        shut = [drill for drill in d.get("drills", ()) if drill.get("open") is False]
        found += [f"drill {drill['drill']}: {drill['readiness']}" for drill in shut]
        failed = [step for step in d.get("steps", ()) if step["status"] in {"failed", "stuck"}]
        return found or [f"{step['step']}: {step['what']}" for step in failed]

    def about(self) -> list[str]:
        """The same in words that do not change by themselves, as figures do and what a network
        says, and without the error that ended it, which its code tells."""
        found = [text for text in self.reasons() if text != self.what] if self.exit_code else []
        as_it_is = self.command == "verify"  # each object that is damaged counts
        words = {text if as_it_is else _in_short(text) for text in found}
        return sorted(words)[:_MOST_ABOUT]


def ended(context: Context, exit_code: int) -> Ended | None:
    """None where nobody is to be told: what only looked, or never read a plan."""
    wiring = context.wired
    if wiring is None or context.command not in RUNS or not context.is_run:
        return None
    error = context.error
    document = context.document if isinstance(context.document, dict) else {}
    return Ended(
        wiring,
        context.command,
        context.subject,
        exit_code,
        wiring.clock.now_ns(),
        wiring.clock.monotonic_seconds() - context.began_seconds,
        error.what if error else "",
        error.hint if error else "",
        document,
        error is not None and _is_mistyped(error),
    )


def _in_short(text: str) -> str:
    """Of 'off is behind: ...' what is so; names begin with a letter, figures do not."""
    head = text if text.startswith("drill ") else text.partition(": ")[0]
    return _FIGURES.sub("", head)


def _is_mistyped(error: DrctlError) -> bool:
    return isinstance(error.__cause__, WrongPassphrase) and not os.environ.get(PASSPHRASE)
