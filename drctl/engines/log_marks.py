"""Marks in a live database while its log is followed."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from drctl.engines.base import Marker, Surroundings
from drctl.errors import DrctlError
from drctl.events import Notice
from drctl.units import parse_duration

_SELDOM_SECONDS = 3600.0


class Marks:
    """By which a restored copy tells how fresh it is. A thread of its own writes them: whoever
    locks their table does not stop the stream."""

    def __init__(self, every: str, asset: str, around: Surroundings, marker: Marker) -> None:
        self._every = self._pause = parse_duration(every)
        self._asset = asset
        self._around = around
        self._marker = marker
        self._thread = ThreadPoolExecutor(1, "drctl-marks")
        self._writing: Future[None] | None = None
        self._at = 0.0

    def __enter__(self) -> "Marks":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def keep(self) -> None:
        """One more, where it is time."""
        now = time.monotonic()
        if not self._every or now - self._at < self._pause:
            return
        if self._writing and not self._writing.done():
            return
        if self._writing:
            self._heed(self._writing)
        self._at = now
        self._writing = self._thread.submit(self._marker.write, self._around.clock.now_ns())

    def _heed(self, written: Future[None]) -> None:
        """That none is written is told once, until one is again; and tried ever more seldom, since
        each time leaves a line in the server's log."""
        try:
            written.result()
            self._pause = self._every
        except DrctlError as error:
            if self._pause == self._every:
                what = f"{self._asset}: no marker is written: {error.what}"
                self._around.report.emit(Notice("warning", what))
            self._pause = min(2 * self._pause, max(self._every, _SELDOM_SECONDS))
