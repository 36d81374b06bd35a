"""Cutting content into blobs: small content whole, large content where its bytes say (FastCDC),
paged content in fixed blocks.

FastCDC: Xia et al., "The Design of Fast Content-Defined Chunking", IEEE TPDS 2020. The seed comes
from the repository's secret, so that the lengths of blobs do not give a known file away.
"""

from collections.abc import Iterable, Iterator

from pyfastcdc import FastCDC

from drctl.codec.limits import CHUNK_AVERAGE_BYTES, CHUNK_MAX_BYTES, CHUNK_MIN_BYTES

Piece = bytes | memoryview
Span = tuple[Piece, int, int]  # what a blob is part of, where it begins there, and where it ends
# At least the largest chunk. A quarter of a window of 8 MiB is cut twice, at its borders: with
# windows of 4 MiB that was a sixth of the time of large files, and larger ones win no more.
_WINDOW_BYTES = 8 << 20
_BLOCKS_BYTES = 1 << 20
_BORDER_BYTES = (CHUNK_AVERAGE_BYTES + CHUNK_MIN_BYTES, CHUNK_MAX_BYTES)  # enough mostly; always


class Chunker:
    """Cuts streams. Not thread safe. `seed`: 0 to 2**63 - 1."""

    def __init__(self, seed: int) -> None:
        self._cdc = FastCDC(
            CHUNK_AVERAGE_BYTES, min_size=CHUNK_MIN_BYTES, max_size=CHUNK_MAX_BYTES, seed=seed
        )

    def cut(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Blobs in order; together they are exactly the pieces.

        Cuts a window at a time. A window's last chunk may have ended by the window's end alone,
        so it is cut anew with what follows: cuts depend on the content, not on the pieces. Only
        what lies around a border is copied."""
        rest: Piece = b""
        for piece in _gather(pieces, _WINDOW_BYTES):
            window = memoryview(piece)
            if rest:
                border, chunks, at = self._over_border(rest, window)
                yield from chunks
                if at < len(rest):
                    rest = border[at:]  # that was all there is
                    continue
                window = window[at - len(rest) :]
            chunks, at = self._chunks_beginning_in(window, len(window))
            yield from chunks
            rest = window[at:]
        if rest:
            yield rest

    def _over_border(
        self, rest: Piece, window: memoryview
    ) -> tuple[memoryview, list[memoryview], int]:
        """What lies around the border in one piece, its chunks that begin in `rest`, and where the
        next one begins. Copies no more than it takes to see where the last of them ends."""
        for more in _BORDER_BYTES:
            border = memoryview(b"".join((rest, window[:more])))
            chunks, at = self._chunks_beginning_in(border, len(rest))
            if at >= len(rest):
                break
        return border, chunks, at

    def _chunks_beginning_in(self, data: memoryview, most: int) -> tuple[list[memoryview], int]:
        """The chunks that begin before `most`, and where the next one begins. The chunk that ends
        with the data is left out: more data might make it longer."""
        chunks, at = [], 0
        for chunk in self._cdc.cut_buf(data):
            end = at + chunk.length
            if end == len(data):
                break
            chunks.append(data[at:end])
            at = end
            if at >= most:
                break  # the generator would look for one more
        return chunks, at


def _gather(pieces: Iterable[Piece], least_bytes: int) -> Iterator[Piece]:
    """The same bytes in windows of at least `least_bytes`, but for the last."""
    held: list[Piece] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= least_bytes:
            yield held[0] if len(held) == 1 else b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def in_blocks(pieces: Iterable[Piece], block_bytes: int) -> Iterator[list[Span]]:
    """Blocks of exactly `block_bytes`, but for the last, as parts of what they came in: about 1 MiB
    at a time, or as much as a piece holds. Blocks that lie together are not copied apart."""
    rest: Piece = b""
    for piece in _gather(pieces, _BLOCKS_BYTES):
        whole = b"".join((rest, piece)) if rest else piece
        end = len(whole) - len(whole) % block_bytes
        if end:
            yield [(whole, at, at + block_bytes) for at in range(0, end, block_bytes)]
        rest = memoryview(whole)[end:]
    if rest:
        yield [(rest, 0, len(rest))]
