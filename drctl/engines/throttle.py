"""A source that is read no faster than a pace: production keeps the rest of its disk."""

from collections.abc import Iterator
from contextlib import contextmanager

from drctl.engines.base import Capture, Content, Item, NamesPoints, Source, Stream
from drctl.model import Entry
from drctl.storage.throttle import Pace


class Throttled:
    """A source at a pace; see engines.base.Source. What is taken over unread costs no time."""

    def __init__(self, inner: Source, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    @contextmanager
    def open(self) -> Iterator["_Capture"]:
        with self._inner.open() as capture:
            yield _Capture(capture, self._pace)


class _Capture:
    """See engines.base.Capture."""

    def __init__(self, inner: Capture, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    @property
    def consistent_at_ns(self) -> int:
        return self._inner.consistent_at_ns

    @property
    def facts(self) -> dict[str, str]:
        return self._inner.facts

    @property
    def private_facts(self) -> dict[str, str]:
        return self._inner.private_facts

    def name_point(self, name: str) -> None:
        """See engines.base.NamesPoints."""
        if isinstance(self._inner, NamesPoints):
            self._inner.name_point(name)

    def items(self) -> Iterator[Item]:
        for item in self._inner.items():
            yield _Item(item, self._pace)


class _Item:
    """See engines.base.Item."""

    __slots__ = ("_inner", "_pace")

    def __init__(self, inner: Item, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    @property
    def path(self) -> bytes:
        return self._inner.path

    @property
    def signature(self) -> bytes:
        return self._inner.signature

    @property
    def content(self) -> Content | None:
        content = self._inner.content
        return _Content(content, self._pace) if content else None

    def entry(self) -> Entry:
        return self._inner.entry()


class _Content:
    """See engines.base.Content."""

    __slots__ = ("_inner", "_pace")

    def __init__(self, inner: Content, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    @property
    def size_hint(self) -> int:
        return self._inner.size_hint

    @property
    def block_bytes(self) -> int:
        return self._inner.block_bytes

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        entry, data = self._inner.load(entry)
        self._pace.take(len(data))
        return entry, data

    def stream(self, entry: Entry) -> "_Stream":
        return _Stream(self._inner.stream(entry), self._pace)


class _Stream:
    """See engines.base.Stream."""

    def __init__(self, inner: Stream, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace

    @property
    def entry(self) -> Entry:
        return self._inner.entry

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._inner:
            self._pace.take(len(piece))
            yield piece
