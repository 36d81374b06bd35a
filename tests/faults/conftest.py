"""Small repositories for the tests of faults, each made once for a file of tests."""

import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_site import History, Site, make_history, random_tree


@pytest.fixture(scope="session")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, pool: Executor) -> History:
    """A few kilobytes in all, so that every byte of it can be tried."""
    first = random_tree(1, 6, 600)
    second = {**first, **random_tree(2, 4, 500)}
    return make_history(Site(tmp_path_factory.mktemp("tiny"), pool), first, second)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, pool: Executor) -> History:
    """Several packs, and a file that is cut in pieces."""
    first = random_tree(3, 30, 60_000, large_bytes=18 << 20)
    second = {**first, **random_tree(4, 12, 90_000)}
    return make_history(Site(tmp_path_factory.mktemp("small"), pool), first, second)
