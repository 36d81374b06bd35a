"""A demo that is cut short leaves nothing running."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drctl.started import born


def processes() -> Iterator[tuple[int, int, bytes]]:
    """Number, parent and words of each."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            yield int(place.name), parent, (place / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile


def below(top: int) -> dict[int, bytes]:
    """All that a process started, and what that started."""
    there = list(processes())
    found = {top: b""}
    for _ in there:  # as deep as it can be
        found |= {pid: words for pid, parent, words in there if parent in found}
    return found


@pytest.fixture
def passable() -> Iterator[str]:
    """Where a server's own user gets in, unlike in a test's own directory."""
    with tempfile.TemporaryDirectory(prefix="drctl-test-") as made:
        Path(made).chmod(0o711)
        yield made


def test_a_demo_that_is_killed_takes_all_that_it_started_with_it_and_the_next_drctl_its_data(
    bare, passable, stop_at_end
) -> None:
    """Its servers, what writes to them, and the drctl that it runs."""
    bare.variables["TMPDIR"] = passable
    demo = bare.start("demo")
    stop_at_end.append(demo)
    assert demo.stdout
    while "drctl init" not in (line := demo.stdout.readline()):
        assert line
    give_up = time.monotonic() + 60
    started: dict[int, bytes] = {}
    while b"-m\0drctl" not in b" ".join(started.values()):
        assert time.monotonic() < give_up
        time.sleep(0.05)
        started = below(demo.pid)
    words = b" ".join(started.values())
    for name in (rb"postgres\0-D", rb"redis-server", rb"insert into sales", rb"insert into orders"):
        assert re.search(name, words), name
    demo.send_signal(signal.SIGSTOP)  # it starts nothing more
    started |= below(demo.pid)
    since = {pid: at for pid in started if (at := born(pid))}
    demo.kill()
    demo.communicate(timeout=60)
    give_up = time.monotonic() + 60
    while any(born(pid) == since[pid] for pid in since):
        assert time.monotonic() < give_up, [started[pid] for pid in since if born(pid)]
        time.sleep(0.05)
    bare.run("init")
    assert os.listdir(passable) == []
