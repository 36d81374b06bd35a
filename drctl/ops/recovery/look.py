"""A look at what came back: what is asked, and what must be found."""

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

LookKind = Literal["sql", "http", "command", "integrity", "compare", "counts"]


class Expectation(Struct, frozen=True):
    """All that is said must hold of the text that was found."""

    equals: str | None = None
    min: float | None = None
    max: float | None = None
    contains: str | None = None

    def miss(self, found: str) -> str:
        """Why what was found is not what must be; empty: it is."""
        if self.equals is not None and not _same(found, self.equals):
            return f"found {_shown(found)}, {_shown(self.equals)} is due"
        if self.contains is not None and self.contains not in found:
            return f"found {_shown(found)}, which does not hold {_shown(self.contains)}"
        return self._out_of_bounds(found)

    def _out_of_bounds(self, found: str) -> str:
        number = _number(found)
        if number is None:
            is_bound = (self.min, self.max) != (None, None)
            return f"found {_shown(found)}, a number is due" if is_bound else ""
        if self.min is not None and number < self.min:
            return f"found {found}, at least {self.min:g} is due"
        is_too_much = self.max is not None and number > self.max
        return f"found {found}, at most {self.max:g} is due" if is_too_much else ""


def _same(found: str, due: str) -> bool:
    a, b = _number(found), _number(due)
    return found == due or (a is not None and a == b)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None  # noqa: PLR0124 - what is no number equals nothing


def _shown(text: str) -> str:
    return f"'{text[:60]}'" + ("..." if len(text) > 60 else "")


class Look(Struct, frozen=True):
    """`name` is unique in a run. `what`: the query, the address, `manifest`; `words`: an argv."""

    name: str
    kind: LookKind
    asset: str = ""
    what: str = ""
    words: tuple[str, ...] = ()
    expect: Expectation | None = None


class Looked(Struct, frozen=True):
    """What a look found: one sentence. `files`: SHA-256 of what was run for it."""

    look: Look
    ok: bool
    what: str
    seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        return {
            "check": self.look.name,
            "kind": self.look.kind,
            "asset": self.look.asset,
            "ok": self.ok,
            "found": self.what,
            "seconds": round(self.seconds, 3),
            "files": dict(self.files),
        }


def compare_counts(due: Mapping[str, int], found: Mapping[str, int]) -> str:
    """How the counts differ from those of the consistent point; empty: they do not. Sefaria's
    verifier compared nothing with nothing and was content: that is a difference here."""
    if not due:
        return "nothing was counted when the snapshot was made"
    wrong = [
        f"{name}: {found.get(name, 'none')}, {number} is due"
        for name, number in due.items()
        if found.get(name) != number
    ]
    more = [f"{name}: {number}, none is due" for name, number in found.items() if name not in due]
    return "; ".join([*wrong, *more][:3])
