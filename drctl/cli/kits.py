"""A recovery kit as people have it: files, pages, and words that are typed. Never arguments."""

import os
import sys

import click
from msgspec import Struct, field

from drctl.cli.keyfiles import read_text
from drctl.codec import kit as codec
from drctl.codec.kit import Kit
from drctl.errors import KeyUnavailable, UsageError
from drctl.ops.kit import OpenKit, open_kit

TYPED = "-"


class _AtHand(Struct):
    """What was found so far. `plan_file`: where the document lies."""

    document: Kit | None = None
    plan_file: str = ""
    shares: list[str] = field(default_factory=list)

    __repr__ = object.__repr__  # no error shows the words


def gather(paths: tuple[str, ...]) -> tuple[OpenKit, str]:
    """Open the kit of these files; words that are missing are asked for at the terminal. Gives
    also the path of its document, "" without one. Raises KeyUnavailable, UsageError."""
    found = _AtHand()
    for path in paths:
        _take(path, found)
    _ask(found)
    return open_kit(found.document, found.shares), found.plan_file


def _take(path: str, found: _AtHand) -> None:
    if path == TYPED:
        if not os.isatty(0):
            _take_words(sys.stdin.read(), found)
        return
    if os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            if name == "kit.json" or (name.startswith("share-") and name.endswith(".txt")):
                _take(os.path.join(path, name), found)
        return
    text = read_text(path)
    try:
        if text.lstrip().startswith("{"):
            _take_document(codec.decode(text), path, found)
        else:
            found.shares.append(codec.share(text))
    except KeyUnavailable as error:
        raise KeyUnavailable(f"{path}: {error.what}", hint=error.hint) from error


def _take_document(kit: Kit, path: str, found: _AtHand) -> None:
    if found.document and found.document != kit:
        raise UsageError("two different kits were given", hint="give one kit.json")
    found.document, found.plan_file = kit, path


def _take_words(text: str, found: _AtHand) -> None:
    """One share a line, or shares with an empty line between them."""
    whole = [line for line in text.splitlines() if line.strip()]
    if any(len(line.split()) < codec.SHARE_WORDS for line in whole):
        whole = [part for part in text.split("\n\n") if part.strip()]
    found.shares += map(codec.share, whole)


def _ask(found: _AtHand) -> None:
    """Until there are enough. A wrong share is told at once, and asked for again."""
    while os.isatty(0) and (missing := _missing(found)):
        typed: str = click.prompt(f"Words of a share ({missing} to go)", err=True)
        try:
            share = codec.share(typed)
        except KeyUnavailable as error:
            click.echo(f"  {error.what}: type it again", err=True)
            continue
        if share in found.shares:
            click.echo("  this share was given already: type another", err=True)
        else:
            found.shares.append(share)


def _missing(found: _AtHand) -> int:
    have = len(set(found.shares))
    if have:
        return max(0, codec.needed(found.shares) - have)
    return found.document.need if found.document else 1
