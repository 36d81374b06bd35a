"""What a database's own program prints as a dump: one file of a snapshot, proven at its end."""

import os
from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from drctl.engines.base import PlainItem
from drctl.engines.child import Child, exit_words
from drctl.engines.tree_look import reason
from drctl.errors import SourceError
from drctl.model import Entry, Kind

_PIECE_BYTES = 1 << 20
_TAIL_BYTES = 200


class Output(Struct):
    """A program's standard output in pieces; see engines.base.Stream. `tail`: the end of it. `also`
    gets each piece, too."""

    child: Child
    entry: Entry
    also: Callable[[bytes], None] | None = None
    tail: bytes = b""

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        while piece := self.child.output.read(_PIECE_BYTES):
            size += len(piece)
            self.tail = (self.tail + piece)[-_TAIL_BYTES:]
            if self.also:
                self.also(piece)
            yield piece
        self.entry = replace(self.entry, size=size)


class _Content:
    """Always streamed: nobody knows how long it is. See engines.base.Content."""

    size_hint = -1
    block_bytes = 0

    def __init__(self, output: Output) -> None:
        self._output = output

    def load(self, entry: Entry) -> tuple[Entry, bytes]:
        data = b"".join(self._output)
        return self._output.entry, data

    def stream(self, entry: Entry) -> Output:
        return self._output


def item(output: Output) -> PlainItem:
    """The dump on its way into a snapshot."""
    return PlainItem(output.entry, _Content(output))


def file_entry(name: bytes, now_ns: int) -> Entry:
    return Entry(name, int(Kind.FILE), 0o600, os.geteuid(), os.getegid(), now_ns)


def refuse_unproven(asset: str, what: str, child: Child, *, proven: bool, lacking: str) -> None:
    """Raises SourceError unless the program ended with status 0, and its output is `proven`."""
    status = child.wait()
    if status or not proven:
        how = exit_words(status) if status else lacking
        raise SourceError(
            f"{asset}: {what} {how}; it said:\n{child.words}",
            hint="nothing was kept; are the grants right, and is the server still there?",
        )


def cannot_run(asset: str, tool: str, error: OSError) -> SourceError:
    return SourceError(f"{asset}: {tool}: cannot be run: {reason(error)}")
