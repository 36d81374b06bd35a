"""Every entry of every snapshot has its blobs, as far as an identity can tell."""

from collections.abc import Sequence

from drctl.errors import IntegrityError, KeyUnavailable, NotFound
from drctl.events import Phase, Progress, Reporter
from drctl.model import Entry, Snapshot
from drctl.ops.verify_places import Wrong
from drctl.repository.reader import Reader
from drctl.units import count, show_path


def check_content(
    reader: Reader, snapshots: Sequence[Snapshot], report: Reporter, wrong: Wrong
) -> int:
    """Gives how many entries were looked at. A block of entries that snapshots share is looked at
    once, and what is wrong with it is told of each."""
    report.emit(Phase(f"checking the entries of {count(len(snapshots), 'snapshot', 'snapshots')}"))
    looked = _Looked(reader, wrong)
    for number, snapshot in enumerate(snapshots, 1):
        report.emit(Progress(0, 0, number, len(snapshots)))
        looked.at(snapshot)
    return looked.entries


class _Looked:
    """`entries`: how many so far."""

    def __init__(self, reader: Reader, wrong: Wrong) -> None:
        self.entries = 0
        self._reader = reader
        self._wrong = wrong
        self._blocks: dict[bytes, str] = {}  # with the first thing that is wrong with each

    def at(self, snapshot: Snapshot) -> None:
        who = f"snapshot {snapshot.short} of {snapshot.asset}"
        shared = ""
        try:
            for block in self._reader.root(snapshot.root).blocks:
                if block.blob in self._blocks:
                    shared = shared or self._blocks[block.blob]
                    continue
                self._blocks[block.blob] = "a block of its entries does not read"
                self._blocks[block.blob] = self._check(block.blob, who)
        except (IntegrityError, KeyUnavailable, NotFound) as error:
            self._wrong(f"{who}: {error.what}")
        if shared:
            self._wrong(f"{who}, too: {shared}")

    def _check(self, blob_id: bytes, who: str) -> str:
        """Gives the first thing that is wrong with a block."""
        first = ""
        for entry in self._reader.block(blob_id):
            self.entries += 1
            if trouble := self._trouble(entry):
                self._wrong(f"{who}: {trouble}")
                first = first or trouble
        return first

    def _trouble(self, entry: Entry) -> str:
        has = self._reader.has
        try:
            lost = sum(1 for leaf in self._reader.leaves(entry) if not has(leaf))
        except IntegrityError as error:
            return f"{show_path(entry.path)}: {error.what}"
        return f"{show_path(entry.path)}: {lost} of its blobs are in no pack" if lost else ""
