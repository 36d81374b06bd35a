"""Exclude patterns, read as gitignore reads them.

- A pattern without `/`, but for a trailing one, matches a name at any depth: `*.tmp`, `.cache/`.
- With a `/` at the start or inside it is anchored at the asset's root: `/var`, `logs/*.gz`.
- A trailing `/` matches directories only. `**` crosses directories, `*` and `?` do not.
"""

import re
from collections.abc import Callable, Sequence

Excluded = Callable[[bytes, bool], bool]  # (path below the root, is a directory) -> excluded


def compile_patterns(patterns: Sequence[str]) -> Excluded | None:
    """One test for all patterns; None when there are none. Raises ValueError on a bad one."""
    if not patterns:
        return None
    anything = _union([p for p in patterns if not p.endswith("/")])
    directories = _union([p.removesuffix("/") for p in patterns])

    def excluded(path: bytes, is_directory: bool) -> bool:
        return (directories if is_directory else anything)(path) is not None

    return excluded


def _union(patterns: Sequence[str]) -> Callable[[bytes], object]:
    """One expression over whole paths."""
    if not patterns:
        return lambda _: None
    return re.compile(b"|".join(_expression(p) for p in patterns), re.DOTALL).fullmatch


def _expression(pattern: str) -> bytes:
    if not pattern.strip("/") or pattern.startswith("!"):
        raise ValueError(f"'{pattern}' is not an exclude pattern; '!' is not supported")
    if "/" in pattern:
        return _translate(pattern.removeprefix("/"))
    return b"(?:.*/)?" + _translate(pattern)


_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_SPECIAL = {"**/": b"(?:.*/)?", "**": b".*", "*": b"[^/]*", "?": b"[^/]"}


def _translate(pattern: str) -> bytes:
    return b"".join(_token(token) for token in _TOKEN.findall(pattern))


def _token(token: str) -> bytes:
    if token in _SPECIAL:
        return _SPECIAL[token]
    if len(token) > 2 and token.startswith("["):
        inner = token[1:-1].replace("\\", "\\\\")
        inner = f"^{inner[1:]}" if inner.startswith("!") else inner.replace("^", "\\^", 1)
        return f"[{inner}]".encode("utf-8", "surrogateescape")
    return re.escape(token.encode("utf-8", "surrogateescape"))
