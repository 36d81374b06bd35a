"""What differs between two snapshots: a merge of two ordered runs of entries."""

from collections.abc import Iterator
from typing import Literal

from drctl.model import Change, Entry, Kind, sort_key


def changes(before: Iterator[Entry], after: Iterator[Entry]) -> Iterator[Change]:
    """In path order, in bounded memory. Blobs are named by their content, so content is compared
    without reading it. What a file with several names underwent is told under its first."""
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        if new is None or (old is not None and sort_key(old.path) < sort_key(new.path)):
            assert old is not None  # noqa: S101 - one of the two is left
            yield Change(old.path, "removed", old, None)
            old = next(before, None)
        elif old is None or sort_key(new.path) < sort_key(old.path):
            yield Change(new.path, "added", None, new)
            new = next(after, None)
        else:
            what = _difference(old, new)
            if what:
                yield Change(new.path, what, old, new)
            old, new = next(before, None), next(after, None)


def _difference(old: Entry, new: Entry) -> Literal["content", "metadata", "kind"] | None:
    if old.kind != new.kind:
        return "kind"
    if _content(old) != _content(new):
        return "content"
    if new.kind == Kind.HARDLINK:
        return None
    return None if old == new else "metadata"


def _content(entry: Entry) -> tuple[object, ...]:
    """What makes two entries' content the same."""
    if entry.kind == Kind.FILE:
        return entry.blobs, entry.indirect, entry.size, entry.extents
    return entry.link, entry.device
