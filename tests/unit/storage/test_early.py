"""What is wanted first is asked for at once, and given once."""

import subprocess
import sys
import threading

import pytest

from drctl.errors import NotFound
from drctl.storage.base import ObjectInfo
from drctl.storage.early import Early
from drctl.storage.memory import Memory
from drctl.storage.meter import Meter


class Together(Meter):
    """Answers nobody before four have asked."""

    def __init__(self, inner: Memory) -> None:
        super().__init__(inner)
        self._asked = threading.Barrier(4, timeout=30)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._asked.wait()
        return super().get(name, offset, length)

    def list(self, prefix: str = ""):
        self._asked.wait()
        return super().list(prefix)


@pytest.fixture
def memory() -> Memory:
    made = Memory()
    for name in ("config", "keys/1", "packs/1", "index/1"):
        made.put(name, name.encode())
    return made


def named(found: list[ObjectInfo]) -> list[str]:
    return sorted(info.name for info in found)


def test_all_is_asked_at_once_and_each_only_once(memory) -> None:
    far = Together(memory)
    early = Early(far, ("config", "keys/1"), ("packs/", "index/"))
    assert (early.get("config"), early.get("keys/1")) == (b"config", b"keys/1")
    assert named(list(early.list("packs/"))) == ["packs/1"]
    assert named(list(early.list("index/"))) == ["index/1"]
    assert far.calls == {"get": 2, "list": 2}


def test_who_asks_again_is_told_what_is_there_then(memory) -> None:
    early = Early(memory, ("config",), ("packs/",))
    assert named(list(early.list("packs/"))) == ["packs/1"]
    memory.put("packs/2", b"by another")
    assert named(list(early.list("packs/"))) == ["packs/1", "packs/2"]


def test_what_was_put_or_deleted_meanwhile_is_seen(memory) -> None:
    early = Early(memory, ("config", "keys/1"), ("packs/", "index/"))
    early.put("config", b"new", replace=True)
    early.put("packs/2", b"new")
    early.delete("keys/1")
    assert early.get("config") == b"new"
    assert named(list(early.list("packs/"))) == ["packs/1", "packs/2"]
    with pytest.raises(NotFound):
        early.get("keys/1")


def test_what_went_wrong_is_told_to_whoever_wants_it(memory) -> None:
    early = Early(memory, ("config", "missing"), ())
    assert early.get("config", 1, 2) == b"on"
    with pytest.raises(NotFound):
        early.get("missing")


LEAVING = """\
import threading
from drctl.storage.early import Early
from drctl.storage.memory import Memory
class Silent(Memory):
    def get(self, *_):
        threading.Event().wait()
Early(Silent(), ("config",), ())
"""


def test_a_storage_that_does_not_answer_keeps_no_process_from_ending() -> None:
    subprocess.run([sys.executable, "-c", LEAVING], check=True, timeout=60)
