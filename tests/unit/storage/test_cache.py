"""The cache is a help and never a source of wrong data."""

from hashlib import sha256
from pathlib import Path

import pytest

from drctl.errors import NotFound
from drctl.storage.cache import Cache
from drctl.storage.memory import Memory
from drctl.storage.meter import Meter


@pytest.fixture
def far() -> Meter:
    return Meter(Memory())


def cache(far: Meter, tmp_path: Path) -> Cache:
    return Cache(far, str(tmp_path / "cache"), ("index/", "snapshots/"))


def put(storage, folder: str, data: bytes) -> str:
    name = folder + sha256(data).hexdigest()
    storage.put(name, data)
    return name


def test_what_was_fetched_once_is_not_fetched_again(far, tmp_path) -> None:
    name = put(far, "index/", b"table")
    for _ in range(3):
        assert cache(far, tmp_path).get(name) == b"table"
    assert far.calls["get"] == 1


def test_what_was_put_need_not_be_fetched(far, tmp_path) -> None:
    name = put(cache(far, tmp_path), "snapshots/", b"manifest")
    assert cache(far, tmp_path).get(name) == b"manifest"
    assert far.calls["get"] == 0


def test_packs_and_parts_are_always_fetched(far, tmp_path) -> None:
    near = cache(far, tmp_path)
    pack, table = put(near, "packs/ab/", b"segments"), put(near, "index/", b"table")
    assert near.get(pack) == b"segments"
    assert near.get(table, 1, 3) == b"abl"
    assert far.calls["get"] == 2


def test_what_was_damaged_here_is_fetched_again(far, tmp_path) -> None:
    near = cache(far, tmp_path)
    name = put(near, "index/", b"table")
    (tmp_path / "cache" / name).write_bytes(b"tablf")
    assert near.get(name) == b"table"
    assert (tmp_path / "cache" / name).read_bytes() == b"table"


def test_what_was_deleted_there_goes_here_too(far, tmp_path) -> None:
    near = cache(far, tmp_path)
    gone, kept = put(near, "index/", b"gone"), put(near, "index/", b"kept")
    far.delete(gone)
    assert [info.name for info in near.list("index/")] == [kept]
    with pytest.raises(NotFound):
        near.get(gone)
    assert near.get(kept) == b"kept"


def test_a_place_that_cannot_be_written_costs_nothing_but_time(far, tmp_path) -> None:
    (tmp_path / "cache").write_text("this is a file")
    near = cache(far, tmp_path)
    name = put(near, "index/", b"table")
    assert near.get(name) == b"table"
    assert [info.name for info in near.list("index/")] == [name]


def test_what_is_kept_is_private(far, tmp_path) -> None:
    put(cache(far, tmp_path), "index/", b"table")
    for path in (tmp_path / "cache").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
