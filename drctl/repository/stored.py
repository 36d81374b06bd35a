"""Content as blobs: small content whole, large content cut, very long lists of blobs in blobs."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future

from msgspec import Struct

from drctl.codec.chunker import Chunker, Piece, Span, in_blocks
from drctl.codec.entries import BlockInfo, Root, encode_root, encoded_blocks
from drctl.codec.limits import INDIRECT_IDS
from drctl.model import ID_SIZE, Entry
from drctl.repository.writer import Writer

_WINDOW_BYTES = 2 << 20
_WINDOWS_AHEAD = 2


class Stored(Struct, frozen=True):
    """What an entry says of its content. `leaves`: the content's own blobs when `indirect`."""

    blobs: bytes
    indirect: bool = False
    leaves: bytes = b""


class ContentStore:
    """Cuts content and hands it to a writing run."""

    def __init__(self, writer: Writer, chunker: Chunker, pool: Executor) -> None:
        self._writer = writer
        self._chunker = chunker
        self._pool = pool

    def stream(self, pieces: Iterable[Piece], block_bytes: int) -> Stored:
        """Content of any length, in bounded memory but for 32 bytes a blob. The pool names blobs
        while this thread reads and cuts the next ones."""
        leaves: list[bytes] = []
        naming: deque[tuple[list[Span], Future[list[bytes]]]] = deque()
        cut = in_blocks(pieces, block_bytes) if block_bytes else _windows(self._chunker.cut(pieces))
        for spans in cut:
            naming.append((spans, self._pool.submit(self._names, spans)))
            if len(naming) > _WINDOWS_AHEAD:
                leaves += self._add_named(*naming.popleft())
        while naming:
            leaves += self._add_named(*naming.popleft())
        return self._listed(b"".join(leaves))

    def _names(self, spans: list[Span]) -> list[bytes]:
        return self._writer.blob_ids(memoryview(whole)[start:end] for whole, start, end in spans)

    def _add_named(self, spans: list[Span], work: Future[list[bytes]]) -> list[bytes]:
        ids = work.result()
        self._writer.add_named(ids, spans)
        return ids

    def _listed(self, leaves: bytes) -> Stored:
        step = INDIRECT_IDS * ID_SIZE
        if len(leaves) <= step:
            return Stored(leaves)
        lists = (leaves[i : i + step] for i in range(0, len(leaves), step))
        ids = b"".join([self._writer.add(ids, tree=True) for ids in lists])
        return Stored(ids, indirect=True, leaves=leaves)

    def has(self, blobs: bytes, leaves: bytes) -> bool:
        """Take over content stored before, if every blob of it is still there."""
        use = self._writer.use
        both = blobs + leaves
        if len(both) == ID_SIZE:
            return use(both)
        return all(use(both[i : i + ID_SIZE]) for i in range(0, len(both), ID_SIZE))

    def tree(self, entries: Iterable[Entry]) -> list[BlockInfo]:
        """Store entries, which come in order, as blocks."""
        made = []
        for block, plain in encoded_blocks(entries):
            blob_id = self._writer.add(plain, tree=True)
            made.append(BlockInfo(block[0].path, blob_id, len(block)))
        return made

    def root(self, infos: list[BlockInfo], private_facts: dict[str, str]) -> bytes:
        """Store the root. Gives the ids of its blobs, end to end."""
        plain = encode_root(Root(tuple(infos), private_facts))
        add = self._writer.add
        return b"".join([add(blob, tree=True) for blob in self._chunker.cut([plain])])


def _windows(blobs: Iterable[Piece]) -> Iterator[list[Span]]:
    """Blobs in groups worth a task."""
    group: list[Span] = []
    size = 0
    for blob in blobs:
        group.append((blob, 0, len(blob)))
        size += len(blob)
        if size >= _WINDOW_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
