"""What drctl can protect: one file a kind, one word here.

A kind is loaded when it is asked for: most plans have two or three, and a command that waits for
nothing should not load the others.
"""

from importlib import import_module

from drctl.engines.base import Engine

KINDS = ("files", "command", "sqlite", "mariadb", "postgres", "redis", "btrfs", "s3bucket")


def engine(kind: str) -> Engine:
    """Raises KeyError for a kind that does not exist."""
    if kind not in KINDS:
        raise KeyError(kind)
    found = import_module(f"drctl.engines.{kind}").ENGINE
    assert isinstance(found, Engine)  # noqa: S101 - every engine's file names it so
    return found
