"""Choosing entries of a snapshot by path."""

import json
import os
from collections.abc import Sequence

from drctl.codec.entries import Root, is_safe_path
from drctl.errors import UsageError
from drctl.repository.reader import Reader
from drctl.units import show_path, shown_paths


def wanted_paths(reader: Reader, root: Root, typed: Sequence[bytes]) -> list[bytes]:
    """Paths of entries: as `drctl ls` shows them, or whole paths as they were on the source.
    Raises UsageError for one that the snapshot does not hold."""
    return [_held(reader, root, path) for path in typed]


def _held(reader: Reader, root: Root, typed: bytes) -> bytes:
    """What is shown escaped may be typed so."""
    for path in (_relative(root, meant) for meant in shown_paths(typed)):
        if is_safe_path(path) and next(reader.entries(root, [path]), None) is not None:
            return path
    raise UsageError(
        f"the snapshot holds no {show_path(typed)}", hint="'drctl ls' shows what it holds"
    )


def _relative(root: Root, path: bytes) -> bytes:
    roots = [os.fsencode(r) for r in json.loads(root.private_facts.get("roots", "[]"))]
    plain = os.path.normpath(path)
    if not plain.startswith(b"/"):
        return plain
    if len(roots) == 1 and plain == roots[0]:
        return b"."
    if len(roots) == 1 and plain.startswith(roots[0].rstrip(b"/") + b"/"):
        return plain[len(roots[0].rstrip(b"/")) + 1 :]
    return plain.lstrip(b"/")
