"""A hash table of blobs in flat arrays: 52 bytes a blob, no object for each. Threads may read it
while one adds to it.

Open addressing with linear probing over 32-bit slots; a slot names a row, a row is an id and three
numbers. Ids are keyed BLAKE3, so their first bytes are as good a hash as any. Why it is our own:
docs/decisions/0002.
"""

from array import array

from drctl.model import ID_SIZE

_EMPTY = 0xFFFFFFFF
_FIRST_SLOTS = 1 << 12
_AT_ONCE = 1 << 16
_MOST_EXPECTED = 1 << 22  # what a listing says bounds nothing


class BlobTable:
    """id -> (segment's ordinal, offset, length), all below 2**32. Grows only."""

    def __init__(self) -> None:
        self._ids = bytearray()
        self._ordinals = array("I")
        self._offsets = array("I")
        self._lengths = array("I")
        self._slots = _empty(_FIRST_SLOTS)

    def __len__(self) -> int:
        return len(self._ordinals)

    def row(self, blob_id: bytes) -> int:
        """The blob's row, or -1."""
        ids, slots = self._ids, self._slots
        mask = len(slots) - 1
        at = int.from_bytes(blob_id[:4], "little") & mask
        while (row := slots[at]) != _EMPTY:
            start = row * ID_SIZE
            if ids[start : start + ID_SIZE] == blob_id:
                return row
            at = (at + 1) & mask
        return -1

    def ordinal(self, row: int) -> int:
        return self._ordinals[row]

    def at(self, row: int) -> tuple[int, int, int]:
        """(segment's ordinal, offset in its raw bytes, length)."""
        return self._ordinals[row], self._offsets[row], self._lengths[row]

    def find_or_add(self, blob_id: bytes, ordinal: int, offset: int, length: int) -> int:
        """The segment's ordinal of a blob that is there; or -1: it was not, and now is."""
        ids, slots = self._ids, self._slots
        mask = len(slots) - 1
        at = int.from_bytes(blob_id[:4], "little") & mask
        while (row := slots[at]) != _EMPTY:
            start = row * ID_SIZE
            if ids[start : start + ID_SIZE] == blob_id:
                return self._ordinals[row]
            at = (at + 1) & mask
        row = len(self._ordinals)
        ids += blob_id
        self._ordinals.append(ordinal)
        self._offsets.append(offset)
        self._lengths.append(length)
        if row * 8 > len(slots) * 5:
            self._grow()
        else:
            slots[at] = row
        return -1

    def extend(
        self, ids: bytes, ordinals: "array[int]", offsets: "array[int]", lengths: "array[int]"
    ) -> None:
        """Many at once. A blob that is there already is found where it was found before."""
        first = len(self._ordinals)
        self._ids += ids
        self._ordinals.extend(ordinals)
        self._offsets.extend(offsets)
        self._lengths.extend(lengths)
        if len(self._ordinals) * 8 > len(self._slots) * 5:
            self._grow()
        else:
            self._place(first, self._slots)

    def expect(self, blobs: int) -> None:
        """About so many more will come: there are slots for them from the start."""
        rows = len(self._ordinals) + min(blobs, _MOST_EXPECTED)
        self._make_slots(rows * 4 // 5)  # as full as they may become

    def _grow(self) -> None:
        """At most half of the slots are used then; five in eight before this is called again."""
        self._make_slots(len(self._ordinals))

    def _make_slots(self, rows: int) -> None:
        """Whoever reads meanwhile goes on with the old ones, which hold all that was there."""
        size = len(self._slots)
        while rows * 2 > size:
            size *= 2
        slots = _empty(size)
        self._place(0, slots)
        self._slots = slots

    def _place(self, first: int, slots: "array[int]") -> None:
        """Give every row from `first` a slot, a bounded number of them at a time."""
        mask = len(slots) - 1
        for begin in range(first, len(self._ordinals), _AT_ONCE):
            part = self._ids[begin * ID_SIZE : (begin + _AT_ONCE) * ID_SIZE]
            heads = memoryview(part).cast("I")[:: ID_SIZE // 4].tolist()
            for row, head in enumerate(heads, begin):
                at = head & mask
                while slots[at] != _EMPTY:
                    at = (at + 1) & mask
                slots[at] = row


def _empty(slots: int) -> "array[int]":
    return array("I", b"\xff" * (4 * slots))
