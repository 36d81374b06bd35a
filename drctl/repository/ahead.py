"""Ranges of packs that are on their way before anybody needs what is in them.

A distant storage answers late, however little is asked of it. So it is asked early, for long
ranges, and for several at once. Who restores says what comes next; whatever was not said is fetched
when it is needed. What came is kept for a while.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from msgspec import Struct

from drctl.errors import IntegrityError, NotFound
from drctl.repository.aside import Aside, Held

_REQUESTS = 8  # at a time
_RANGES = 256  # kept, each of which may be a file
_GROUP_BYTES, _FAR_GROUP_BYTES = 4 << 20, 8 << 20
Range = tuple[str, int, int]  # object, offset, length
Read = Callable[[str, int, int], bytes]


class Slice(Struct, frozen=True):
    """A sealed segment in a range that is on its way. The range is held as long as its slices."""

    whole: Future[Held]
    offset: int
    length: int

    def sealed(self) -> bytes | memoryview | None:
        """Waits for it. None: the range cannot be read whole, so that each of its segments must be
        read by itself. Raises StorageError."""
        try:
            sealed = self.whole.result()(self.offset, self.length)
        except (IntegrityError, NotFound, OSError):
            return None
        return sealed if len(sealed) == self.length else None


Coming = Mapping[int, Slice]  # by the segment's ordinal
NOTHING: Coming = {}


class Ahead:
    """Fetches in threads of its own, which wait most of their time. As a context, it ends with what
    is under way and begins nothing more; after an error it waits for nothing, since a storage that
    is dead is asked again for minutes, in threads that no signal reaches. One thread asks."""

    def __init__(self, read: Read, aside: Aside | None = None) -> None:
        self._read = read
        self._aside = aside or Aside()
        self._threads = ThreadPoolExecutor(_REQUESTS, "drctl-read")
        self._slices: dict[int, Slice] = {}
        self._ranges: OrderedDict[Future[Held], tuple[int, tuple[int, ...]]] = OrderedDict()
        self._held_bytes = 0

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=error is None, cancel_futures=True)
        self._slices.clear()
        self._ranges.clear()

    @property
    def group_bytes(self) -> int:
        """How much is worth being asked for together. What lies on the disk may be more."""
        return _FAR_GROUP_BYTES if self._aside.is_on_disk else _GROUP_BYTES

    def __contains__(self, ordinal: int) -> bool:
        return ordinal in self._slices

    def known(self, ordinals: Iterable[int]) -> dict[int, Slice]:
        """Those among them that are on their way, or came and are still kept."""
        found = {o: self._slices[o] for o in ordinals if o in self._slices}
        for known in found.values():
            self._ranges.move_to_end(known.whole)
        return found

    def begin(self, wanted: Range, segments: Iterable[tuple[int, int, int]]) -> dict[int, Slice]:
        """Ask for a range now. `segments`: ordinal, offset in the range, length."""
        whole = self._threads.submit(self._fetch, wanted)
        made = {ordinal: Slice(whole, offset, length) for ordinal, offset, length in segments}
        self._slices |= made
        self._ranges[whole] = wanted[2], tuple(made)
        self._held_bytes += wanted[2]
        self._drop()
        return made

    def _fetch(self, wanted: Range) -> Held:
        return self._aside.keep(self._read(*wanted))

    def _drop(self) -> None:
        """Those that were needed least recently. Who still waits for one holds it."""
        most_bytes = self._aside.most_bytes()
        while self._held_bytes > most_bytes or len(self._ranges) > _RANGES:
            _, (length, ordinals) = self._ranges.popitem(last=False)
            self._held_bytes -= length
            for ordinal in ordinals:
                self._slices.pop(ordinal, None)
