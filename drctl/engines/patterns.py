"""Exclude patterns, read as gitignore reads them.

- A pattern without `/`, but for a trailing one, matches a name at any depth: `*.tmp`, `.cache/`.
- With a `/` at the start or inside it is anchored at the asset's root: `/var`, `logs/*.gz`.
- A trailing `/` matches directories only. `**` crosses directories; `*`, `?` and `[!a]` do not.
- `\\` takes the next character as it is. `!` at the start is refused: nothing is taken back in.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import Struct
from pydantic import AfterValidator

Matcher = Callable[[bytes], object]  # of a path below the root; what it gives is true or None


class Excluded(Struct, frozen=True):
    """Two tests, each None when there is nothing to test: one for whatever bears the path, asked
    before anybody looks at the thing itself, and one for directories alone."""

    anything: Matcher | None
    directories: Matcher | None


NOTHING = Excluded(None, None)


def compile_patterns(patterns: Sequence[str]) -> Excluded:
    """Raises ValueError on a bad pattern."""
    return Excluded(
        _union([p for p in patterns if not p.endswith("/")]),
        _union([p.rstrip("/") for p in patterns if p.endswith("/")]),
    )


def _checked(patterns: tuple[str, ...]) -> tuple[str, ...]:
    compile_patterns(patterns)
    return patterns


# What a plan says of them; a bad one is told at its place.
Patterns = Annotated[tuple[str, ...], AfterValidator(_checked)]


def _union(patterns: Sequence[str]) -> Matcher | None:
    """One expression over whole paths."""
    if not patterns:
        return None
    return re.compile(b"|".join(_expression(p) for p in patterns), re.DOTALL).fullmatch


def _expression(pattern: str) -> bytes:
    if not pattern.strip("/") or pattern.startswith("!"):
        raise ValueError(f"'{pattern}' is not an exclude pattern; '!' is not supported")
    try:
        translated = _translate(pattern.removeprefix("/"))
        re.compile(translated)
    except re.error as error:
        raise ValueError(f"'{pattern}' is not an exclude pattern: {error}") from error
    return translated if "/" in pattern else b"(?:.*/)?" + translated


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\\.|\[!?\]?[^\]]*\]|.", re.DOTALL)
_SPECIAL = {"**/": b"(?:.*/)?", "**": b".*", "*": b"[^/]*", "?": b"[^/]"}


def _translate(pattern: str) -> bytes:
    return b"".join(_token(token) for token in _TOKEN.findall(pattern))


def _token(token: str) -> bytes:
    if token in _SPECIAL:
        return _SPECIAL[token]
    if len(token) > 2 and token.startswith("["):
        return _set_of_characters(token[1:-1])
    literal = token[1:] if len(token) == 2 and token.startswith("\\") else token
    return re.escape(literal.encode("utf-8", "surrogateescape"))


def _set_of_characters(inner: str) -> bytes:
    """`[a-z]`, `[!a-z]`. Only ASCII makes sense in one byte; anything else is one of its forms."""
    negated = inner.startswith("!")
    inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", inner.removeprefix("!"))
    return f"(?!/)[{'^' if negated else ''}{inner}]".encode("utf-8", "surrogateescape")
