"""Things that wait for each other, and so wait for ever."""

from collections.abc import Mapping


def find_circle(after: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Names that lead back to the first of them, which stands at the end again; empty: none.
    Names that are not known lead nowhere."""
    over: set[str] = set()
    for start in after:
        path: list[str] = []
        found = _walk(start, after, path, over)
        if found:
            return found
    return ()


def _walk(
    name: str, after: Mapping[str, tuple[str, ...]], path: list[str], over: set[str]
) -> tuple[str, ...]:
    if name in path:
        return (*path[path.index(name) :], name)
    if name in over:
        return ()
    path.append(name)
    for before in after.get(name, ()):
        found = _walk(before, after, path, over)
        if found:
            return found
    over.add(path.pop())
    return ()
