"""Ranges of packs that are on their way before anybody needs what is in them.

A distant storage answers late, however little is asked of it. So it is asked early, for long
ranges, and for several at once. Who restores says what comes next; whatever was not said is fetched
when it is needed.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from drctl.errors import IntegrityError, NotFound

_REQUESTS = 8  # at a time
Range = tuple[str, int, int]  # object, offset, length
Read = Callable[[str, int, int], bytes]


@dataclass(frozen=True, slots=True)
class Slice:
    """A sealed segment in a range that is on its way. The range is held as long as its slices."""

    whole: Future[bytes]
    offset: int
    length: int

    def sealed(self) -> memoryview | None:
        """Waits for it. None: the range cannot be read whole, so that each of its segments must be
        read by itself. Raises StorageError."""
        try:
            return memoryview(self.whole.result())[self.offset : self.offset + self.length]
        except (IntegrityError, NotFound):
            return None


Coming = Mapping[int, Slice]  # by the segment's ordinal
NOTHING: Coming = {}


class Ahead:
    """Fetches in threads of its own, which wait most of their time. As a context, it ends with what
    is under way and begins nothing more."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._threads = ThreadPoolExecutor(_REQUESTS, "drctl-read")

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def begin(self, wanted: Range, segments: Iterable[tuple[int, int, int]]) -> dict[int, Slice]:
        """Ask for a range now. `segments`: ordinal, offset in the range, length."""
        whole = self._threads.submit(self._read, *wanted)
        return {ordinal: Slice(whole, offset, length) for ordinal, offset, length in segments}
