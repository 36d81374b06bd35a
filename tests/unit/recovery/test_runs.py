"""Recoveries as they lie on the disk: whole, or not at all."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from drctl.errors import IntegrityError, StorageError
from drctl.ops.recovery import runs
from drctl.private import write_new


@contextmanager
def no_room() -> Iterator[None]:
    """As on a disk that is full: a file may not grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_that_could_not_be_written_down_keeps_nobody_from_the_next(tmp_path, clock) -> None:
    with no_room(), pytest.raises(StorageError, match="cannot be written down"):
        runs.begin(str(tmp_path), "1700000000-aa", {"mode": "failover"}, clock)
    assert runs.last(str(tmp_path), clock) is None
    assert runs.unfinished(str(tmp_path), clock) is None
    runs.begin(str(tmp_path), "1700000001-bb", {"mode": "planned"}, clock)
    assert runs.newest(str(tmp_path), clock).order == {"mode": "planned"}


def test_an_order_that_does_not_read_is_named(tmp_path, clock) -> None:
    begun = runs.begin(str(tmp_path), "1700000000-aa", {"mode": "failover"}, clock)
    (tmp_path / begun.name / "order.json").write_text('{"mode": "fail')
    with pytest.raises(IntegrityError, match=r"1700000000-aa/order\.json: "):
        runs.last(str(tmp_path), clock)


def test_the_run_that_began_last_is_the_newest_whatever_the_clock_says(tmp_path, clock) -> None:
    first = runs.begin(str(tmp_path), runs.name_of(5 * 10**18, None, "aa"), {}, clock)
    name = runs.name_of(4 * 10**18, first, "00")
    runs.begin(str(tmp_path), name, {}, clock)
    assert runs.newest(str(tmp_path), clock).name == name


def test_a_file_that_cannot_be_written_whole_is_not_left(tmp_path) -> None:
    path = tmp_path / "key"
    with no_room(), pytest.raises(OSError, match="File too large"):
        write_new(str(path), json.dumps({"secret": 7}))
    assert list(tmp_path.iterdir()) == []
    write_new(str(path), "whole")
    assert path.read_text() == "whole"
