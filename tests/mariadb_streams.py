"""A MariaDB server whose binlog `drctl stream` follows, and what is stored of it."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mariadb_servers import PLAN, standing

from drctl import plan as plans
from drctl.codec.keys import decode_identity
from drctl.events import Silent
from drctl.repository.log import LogReader
from drctl.wiring import Wiring

STREAM = ", stream: true, store_every: 200ms, mark_every: 500ms"


@pytest.fixture
def kept(shop, maria):
    """The server's binlog is to be kept."""
    shop.plan(PLAN.format(socket=maria.socket, more=STREAM))
    return shop


class Stream:
    """`drctl stream`, running."""

    def __init__(self, site) -> None:
        self._site = site
        self._log = (site.top / "stream.log").open("a+")
        self.process = subprocess.Popen(
            site.argv("stream"), env=site.environment(), cwd=site.top,
            stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def said(self) -> str:
        return (self._site.top / "stream.log").read_text()

    def wait_for(self, words: str, times: int = 1) -> None:
        self.wait_for_it(lambda: self.said.count(words) >= times)

    def wait_for_another_series(self, before: set[Path], size: int) -> None:
        """So much of its first file is in the repository."""

        def is_stored() -> bool:
            new = series_of(self._site) - before
            pieces = (path for top in new for path in top.iterdir() if is_there(path))
            return any(reach_of(path.name)[1] >= size for path in pieces)

        self.wait_for_it(is_stored)

    def wait_for_it(self, until: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not until():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def wait_until_stored(self, file: str, size: int) -> None:
        """So much of a file is in the repository."""
        deadline = time.monotonic() + 60
        while stored_sizes(self._site).get(file, 0) < size:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, (stored_sizes(self._site), file, size, self.said)
            time.sleep(0.05)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()
        assert "Traceback" not in self.said, self.said


@contextmanager
def streaming(site) -> Iterator[Stream]:
    made = Stream(site)
    try:
        yield made
    finally:
        made.end()


def stored_sizes(site) -> dict[str, int]:
    """How far each file reaches, from the names of the objects alone."""
    found: dict[str, int] = {}
    for path in (site.top / "local/log").glob("*/*"):
        if is_there(path):
            file, reach = reach_of(path.name)
            found[file] = max(found.get(file, 0), reach)
    return found


def is_there(piece: Path) -> bool:
    """Its directory is made first, and goes last."""
    with suppress(FileNotFoundError):
        return bool(os.listdir(piece))
    return False


def reach_of(name: str) -> tuple[str, int]:
    """A piece's file, and where in it the piece ends."""
    file, offset, size, *_ = re.fullmatch(
        r"(.+)\.([0-9a-f]{16})\.([0-9a-f]{8})\.\w+\.\w+", name
    ).groups()  # type: ignore[union-attr]
    return file, int(offset, 16) + int(size, 16)


def position(maria) -> tuple[str, int]:
    file, at, *_ = maria.ask("show master status")[0]
    return str(file), int(at)


def series_of(site) -> set[Path]:
    return set((site.top / "local/log").iterdir())


def log_of(site) -> LogReader:
    """The log of the site's asset, read with the identity."""
    wiring = Wiring(plans.load(str(site.top / "plan.yaml")), Silent())
    text = (site.top / "keys/identity.key").read_text()
    identity = decode_identity(text, "correct horse")
    folder = next((site.top / "local/log").iterdir()).name
    return LogReader(wiring.as_reader("local", identity), identity, folder)


def utc(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


def restored(site, *words: str):
    """What the probe finds after a restore with these words."""
    to = site.top / f"back-{len(list(site.top.glob('back-*')))}"
    done = site.run("restore", "shop", "--to", to, *words)
    return done, standing(to)
