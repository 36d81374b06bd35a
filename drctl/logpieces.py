"""Pieces of a database's log (WAL, binlog) in a repository, and what can be said of them without
opening any: which of them give a file, which are covered by others, which nobody needs any more."""

import re
from collections.abc import Iterable
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

# A fact of a snapshot that the log which is stored of its server does not continue: why.
APART = "log_apart"
_NUMBERED = re.compile(r"(.+)\.(\d{6,})")


def in_order(file: str) -> tuple[str, int]:
    """By what files are in the order in which the server wrote them. A binlog's number has six
    digits until they are used up: `binlog.1000000` comes after `binlog.999999`. A segment of WAL is
    as long as any other, so its name alone tells."""
    found = _NUMBERED.fullmatch(file)
    return (found[1], int(found[2])) if found else (file, 0)


class LogPiece(Struct, frozen=True):
    """A piece of a log file: `size` bytes from `offset`. `whole`: the file ends with it."""

    name: str  # of its object, which `Log.read` takes
    file: str
    offset: int
    size: int
    whole: bool
    stored_at_ns: int  # by the storage's clock

    @property
    def end(self) -> int:
        return self.offset + self.size


class LogFile(Struct, frozen=True):
    """The least pieces that, one after the other, give a file from its beginning. A piece may reach
    into the next one. `whole`: they give all of it. `reach`: where the last that is there ends.
    `cut`: what is behind is of no use here, though it is there."""

    file: str
    pieces: tuple[LogPiece, ...]
    reach: int = 0
    cut: int | None = None

    @property
    def size(self) -> int:
        end = self.pieces[-1].end if self.pieces else 0
        return end if self.cut is None else min(end, self.cut)

    @property
    def whole(self) -> bool:
        return bool(self.pieces) and self.pieces[-1].whole and self.cut is None

    def up_to(self, size: int) -> "LogFile":
        return self if size >= self.size else replace(self, cut=size, reach=size)

    @property
    def is_torn(self) -> bool:
        """A piece is missing in the middle."""
        return not self.whole and self.reach > self.size


def by_file(pieces: Iterable[LogPiece]) -> dict[str, LogFile]:
    """Each file with as much of it as the pieces give without a gap, in their order."""
    ordered = sorted(pieces, key=lambda piece: (in_order(piece.file), piece.offset))
    groups = groupby(ordered, key=lambda piece: piece.file)
    return {file: _file(file, list(group)) for file, group in groups}


def _file(file: str, pieces: list[LogPiece]) -> LogFile:
    return LogFile(file, _chain(pieces), max(piece.end for piece in pieces))


def _chain(pieces: list[LogPiece]) -> tuple[LogPiece, ...]:
    """Each time the piece that reaches furthest, so that a whole one spares all the others."""
    chain: list[LogPiece] = []
    at = 0
    while not (chain and chain[-1].whole):
        here = [p for p in pieces if p.offset <= at and (p.end > at or (p.whole and p.end == at))]
        if not here:
            break
        chain.append(max(here, key=_reach))
        at = chain[-1].end
    return tuple(chain)


def _reach(piece: LogPiece) -> tuple[int, bool, int]:
    return piece.end, piece.whole, piece.size


def superseded(pieces: Iterable[LogPiece]) -> list[LogPiece]:
    """Pieces whose whole range another single piece holds, so that nobody needs them. Of twins the
    first by name stays: two that clean at once must not each take the other's."""
    found = []
    ordered = sorted(pieces, key=lambda piece: (piece.file, piece.offset, piece.name))
    for _, group in groupby(ordered, key=lambda piece: piece.file):
        of_file = list(group)
        found += [p for p in of_file if any(_covers(other, p) for other in of_file)]
    return found


def _covers(other: LogPiece, piece: LogPiece) -> bool:
    if other is piece or other.offset > piece.offset or other.end < piece.end:
        return False
    if piece.whole and not other.whole:
        return False
    is_twin = (other.offset, other.size, other.whole) == (piece.offset, piece.size, piece.whole)
    return not is_twin or other.name < piece.name


def newest_file(pieces: Iterable[LogPiece]) -> str:
    """The last that the server wrote; empty: there is none."""
    return max((piece.file for piece in pieces), key=in_order, default="")


def first_file(pieces: Iterable[LogPiece]) -> str:
    """The oldest, but for histories of timelines, which stay for ever; empty: there is none."""
    files = (piece.file for piece in pieces if not piece.file.endswith(".history"))
    return min(files, key=in_order, default="")


def outlived(pieces: Iterable[LogPiece], first: str) -> list[LogPiece]:
    """Pieces of files before `first`, the oldest that a kept snapshot needs (its fact `log_first`).
    A timeline's history is a few bytes, and needed for ever."""
    begin = in_order(first)
    return [p for p in pieces if in_order(p.file) < begin and not p.file.endswith(".history")]
