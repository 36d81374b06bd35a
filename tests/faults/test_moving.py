"""A tree that is changed between the look at a file and its reading, and names of one file."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from small_site import IDENTITY, Site, write_tree

from drctl.engines import files
from drctl.engines.base import Item
from drctl.ops.recovery.manifest import counts_due
from drctl.repository import lifecycle
from drctl.repository.reader import Reader

SMALL = b"it was small when it was looked at"
LARGE = os.urandom(1 << 20) * 17  # more than a segment may hold


class Moving:
    """A source; when an item of it is taken, something is done before it is read."""

    def __init__(self, inner: files.Source, path: bytes, meanwhile: Callable[[], None]) -> None:
        self._inner = inner
        self._path = path
        self._meanwhile = meanwhile

    @contextmanager
    def open(self) -> Iterator["Moving"]:
        with self._inner.open() as self._capture:
            yield self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)

    def items(self) -> Iterator[Item]:
        for item in self._capture.items():
            if item.path == self._path:
                self._meanwhile()
            yield item


@pytest.fixture
def site(tmp_path: Path, pool) -> Site:
    return Site(tmp_path, pool)


@pytest.mark.parametrize("before", [SMALL, b""])
def test_a_small_file_that_has_grown_large_comes_back_and_so_does_what_is_beside_it(
    site: Site, before: bytes
) -> None:
    """Such as an upload that is completed, or a log that was begun anew."""
    write_tree(site.live, {"a": b"first", "b": before, "c": b"last"})
    storage = site.new_repository()
    moving = Moving(site.source(), b"b", lambda: write_tree(site.live, {"b": LARGE}))
    made = site.backup(storage, source=moving)
    assert made.status == "complete"
    assert site.restored(storage, made.name) == {"a": b"first", "b": LARGE, "c": b"last"}


def test_a_later_name_of_a_file_that_is_replaced_is_saved_as_it_is(site: Site) -> None:
    write_tree(site.live, {"a": SMALL})
    os.link(site.live / "a", site.live / "b")

    def move() -> None:
        (site.live / "b").unlink()
        (site.live / "b").write_bytes(b"the content of another")

    storage = site.new_repository()
    made = site.backup(storage, source=Moving(site.source(), b"a", move))
    other = b"the content of another"
    assert site.restored(storage, made.name) == {"a": SMALL, "b": other}


@pytest.mark.parametrize("others", [b"the content of another", None], ids=["replaced", "gone"])
def test_a_name_of_a_file_whose_first_name_is_gone_is_saved_itself(
    site: Site, others: bytes | None
) -> None:
    write_tree(site.live, {"a": SMALL})
    os.link(site.live / "a", site.live / "b")
    os.link(site.live / "a", site.live / "c")

    def move() -> None:
        (site.live / "a").unlink()
        if others:
            (site.live / "a").write_bytes(others)

    storage = site.new_repository()
    made = site.backup(storage, source=Moving(site.source(), b"a", move))
    site.restore_to(storage, made.name, site.top / "back")
    back = site.top / "back"
    assert (back / "b").read_bytes() == (back / "c").read_bytes() == SMALL
    assert (back / "b").samefile(back / "c")
    assert (back / "a").read_bytes() == others if others else not (back / "a").exists()


def test_each_name_of_a_link_is_counted_as_it_is_found(site: Site) -> None:
    """As `cp -al` makes them: a recovery never ended well, for what was due was less."""
    write_tree(site.live, {"a": SMALL})
    (site.live / "link").symlink_to("a")
    os.link(site.live / "link", site.live / "link-too", follow_symlinks=False)
    os.link(site.live / "a", site.live / "same")
    storage = site.new_repository()
    made = site.backup(storage)
    site.restore_to(storage, made.name, site.top / "back")
    repository = lifecycle.open_as_reader(storage, IDENTITY, os.urandom)
    reader = Reader(repository, repository.load_index(lambda _: None), IDENTITY)
    due, _ = counts_due(reader, reader.root(made.root))
    settings = files.Settings(paths=(str(site.live),))
    found = files.Probe(settings, str(site.top / "back"), site.surroundings()).counts()
    assert due == found == {"entries": 4, "bytes": 2 * len(SMALL) + 2}
