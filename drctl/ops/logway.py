"""How far the log behind a snapshot goes without a gap, by the names of what is stored alone.

A segment of WAL is named by its timeline and its place in the log, a binlog by its number. A
restore follows the newest timeline: what an older one wrote behind its begin leads nowhere.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from drctl.errors import IntegrityError
from drctl.logpieces import LogFile, LogPiece, by_file, in_order
from drctl.model import Snapshot
from drctl.repository import log, names
from drctl.repository.repository import Repository

_SEGMENT = re.compile(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})")
_BINLOG = re.compile(r".+\.(\d{6,})")

BEGUN_ANEW = "the server's binlogs were begun anew since (RESET MASTER, or a restored server)"


class Way(Struct, frozen=True):
    """`gap`: what is missing, though more is there behind it; empty: nothing is."""

    files: tuple[LogFile, ...] = ()
    gap: str = ""

    @property
    def stored_at_ns(self) -> int:
        """When the newest piece before any gap was stored; 0: there is none."""
        pieces = (piece for file in self.files for piece in file.pieces)
        return max((piece.stored_at_ns for piece in pieces), default=0)


def confirmed(snapshot: Snapshot, listing: Callable[[], Iterable[LogPiece]], first: Way) -> Way:
    """A gap counts when it is there twice: a log is written, and its parts go, while it is
    listed."""
    return along(snapshot, listing()) if first.gap else first


def behind(repository: Repository, snapshot: Snapshot) -> Way:
    """The log that continues a snapshot in a repository. Raises StorageError."""
    stream = snapshot.facts.get("log_stream")
    if not stream:
        return Way()

    def listing() -> Iterable[LogPiece]:
        found = repository.storage.list(f"{names.LOG}{stream}/")
        return named(repository.where, ((info.name, info.modified_ns) for info in found))

    way = confirmed(snapshot, listing, along(snapshot, listing()))
    return or_begun_anew(way, snapshot, lambda top: next(repository.storage.list(top), None))


def or_begun_anew(way: Way, snapshot: Snapshot, first_below: Callable[[str], object]) -> Way:
    """That is a gap, too."""
    if way.gap or not is_begun_anew(snapshot, first_below):
        return way
    return replace(way, gap=BEGUN_ANEW)


def is_begun_anew(snapshot: Snapshot, first_below: Callable[[str], object]) -> bool:
    """Whether there is a log of the same server that no restore of the snapshot goes into.
    `first_below`: whether anything is stored there."""
    after = snapshot.facts.get("log_after")
    return bool(after and first_below(f"{names.LOG}{after}/"))


def named(where: str, stored: Iterable[tuple[str, int]]) -> Iterator[LogPiece]:
    """Pieces, by their names and when they were stored. None where somebody left a file of another
    name there: 'drctl verify' tells of it."""
    for name, at_ns in stored:
        with suppress(IntegrityError):
            yield log.piece(where, name, at_ns)


def along(snapshot: Snapshot, pieces: Iterable[LogPiece]) -> Way:
    """A snapshot needs its log from the file `log_first` on; what is in it itself, up to
    `log_reached`, may be missing."""
    first = snapshot.facts.get("log_first", "")
    files = [file for name, file in by_file(pieces).items() if in_order(name) >= in_order(first)]
    number_of = _numbering(files, snapshot.facts.get("segment_bytes", ""))
    numbered: dict[int, list[LogFile]] = {}
    for file in _followed(files, first):
        if (number := number_of(file.file)) is not None:
            numbered.setdefault(number, []).append(file)
    begin = number_of(first)
    if begin is None or not numbered:
        return Way()
    brought = number_of(snapshot.facts.get("log_reached", ""))
    return _walk(numbered, begin, begin - 1 if brought is None else brought)


def _followed(files: list[LogFile], first: str) -> Iterator[LogFile]:
    """Without the segments of timelines that were left before them. Where a timeline begins, its
    own segment holds what the older one's does; of an empty one the place alone counts."""
    begins: dict[str, str] = {}
    for file in files:
        if _SEGMENT.fullmatch(file.file) and file.file[8:] >= first[8:]:
            timeline, place = file.file[:8], file.file[8:]
            begins[timeline] = min(place, begins.get(timeline, place))
    for file in files:
        newer = (place for timeline, place in begins.items() if timeline > file.file[:8])
        is_segment = _SEGMENT.fullmatch(file.file)
        if not is_segment or (file.reach and all(file.file[8:] < place for place in newer)):
            yield file


def _numbering(files: list[LogFile], told: str) -> Callable[[str], int | None]:
    """A segment's place in the log needs the size of segments: as the snapshot tells it, else that
    of a whole one."""
    sizes = [file.size for file in files if file.whole and _SEGMENT.fullmatch(file.file)]
    size = int(told) if told.isdigit() else max(sizes, default=0)
    each = 0x1_0000_0000 // (size or 0x1_0000_0000)

    def number_of(name: str) -> int | None:
        if segment := _SEGMENT.fullmatch(name):
            return int(segment[1], 16) * each + int(segment[2], 16)
        binlog = _BINLOG.fullmatch(name)
        return int(binlog[1]) if binlog else None

    return number_of


def _walk(numbered: dict[int, list[LogFile]], begin: int, brought: int) -> Way:
    way: list[LogFile] = []
    last = max(numbered)
    for number in range(begin, last + 1):
        here = numbered.get(number, [])
        way += here
        if number <= brought or any(file.whole for file in here):
            continue
        if not here:
            follower = min((n for n in numbered if n > number), default=last)
            return Way(tuple(way), f"what comes before {numbered[follower][0].file} is missing")
        if number < last or any(file.is_torn for file in here):
            return Way(tuple(way), f"{here[0].file} is not whole")
    return Way(tuple(way))


def gap_words(where: str, snapshot: Snapshot, way: Way) -> str:
    """One sentence for a person."""
    return (
        f"{where}: the log of {snapshot.asset} has a gap: {way.gap}, and no snapshot was taken "
        "behind it, so what is stored after the gap does not come back"
    )
