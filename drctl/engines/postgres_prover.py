"""The process that reads and proves pages for another one: see postgres_proof, which starts it.

Asked for windows of files, it lays them one after the other, each from the beginning of a page,
into memory that both share, and answers how long each was and which of their pages are wrong.
"""

import mmap
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from importlib import import_module

PLACE_BYTES = 4 << 20  # windows that are asked for together fit into it
WINDOWS_MOST = 32  # in one request
REQUEST = struct.Struct("<II")  # page size, place in the memory; then windows
WINDOW = struct.Struct("<QII")  # offset in its file, length, its first block
ANSWER = struct.Struct("<iI")  # error number; windows; then each one's length, and what is wrong
WRONG = struct.Struct("<IIQ")  # the window's number, the page's in it, the LSN that it claims
ANSWER_MOST_BYTES = 128 << 10  # even if all are wrong, and as small as pages can be

Window = tuple[int, int, int]  # as in WINDOW


def rounded(length: int, page: int) -> int:
    """Up to whole pages."""
    return -(-length // page) * page


def serve(memory: int) -> None:
    """Answer on standard input, a socket, until nobody asks any more. `memory` is shared."""
    import_module("drctl.engines.postgres_pages")  # it takes its time, now rather than later
    asked = socket.socket(fileno=0)
    most = REQUEST.size + WINDOWS_MOST * WINDOW.size
    shared = memoryview(mmap.mmap(memory, 0))  # until this process ends
    while True:
        request, descriptors, _, _ = socket.recv_fds(asked, most, WINDOWS_MOST)
        if not request:
            return
        page, place = REQUEST.unpack_from(request)
        windows = list(WINDOW.iter_unpack(request[REQUEST.size :]))
        lot = shared[place : place + PLACE_BYTES]
        asked.send(_answer(lot, descriptors, windows, page))
        for descriptor in descriptors:
            os.close(descriptor)


def _answer(lot: memoryview, files: Sequence[int], windows: Sequence[Window], page: int) -> bytes:
    try:
        lengths = _read(lot, files, windows, page)
        wrong = list(_wrong(lot, files, windows, lengths, page))
    except OSError as error:
        return ANSWER.pack(error.errno or -1, 0)
    told = struct.pack(f"<{len(lengths)}I", *lengths)
    return ANSWER.pack(0, len(lengths)) + told + b"".join(WRONG.pack(*found) for found in wrong)


def _read(lot: memoryview, files: Sequence[int], windows: Sequence[Window], page: int) -> list[int]:
    """The length that each window has; it is shorter where its file ends."""
    lengths, at = [], 0
    for file, (offset, length, _) in zip(files, windows, strict=True):
        lengths.append(os.preadv(file, [lot[at : at + length]], offset))
        at += rounded(length, page)
    return lengths


def _wrong(
    lot: memoryview,
    files: Sequence[int],
    windows: Sequence[Window],
    lengths: Sequence[int],
    page: int,
) -> Iterator[tuple[int, int, int]]:
    """Pages that are wrong, by window, and of which LSN each claims to be. They are read once more,
    into their places: the server may have been writing them. What is left of a page at a file's end
    is not judged."""
    from drctl.engines.postgres_pages import bad_pages  # who only asks needs no numpy

    blocks = [range(first, first + -(-most // page)) for _, most, first in windows]
    again = set()
    for at, _ in bad_pages(lot, page, blocks):
        window, place = _place(blocks, at)
        if (place + 1) * page > lengths[window]:
            continue
        offset = windows[window][0] + place * page
        if os.preadv(files[window], [lot[at * page : (at + 1) * page]], offset) == page:
            again.add(at)  # else the file was cut meanwhile
    for at, lsn in bad_pages(lot, page, blocks) if again else ():
        if at in again:
            yield (*_place(blocks, at), lsn)


def _place(blocks: Sequence[range], at: int) -> tuple[int, int]:
    """The window that the page at this place among all is in, and its place there."""
    for window, numbers in enumerate(blocks):
        if at < len(numbers):
            return window, at
        at -= len(numbers)
    raise IndexError(at)
