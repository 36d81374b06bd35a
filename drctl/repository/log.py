"""An asset's log (WAL, binlog) in a repository: stored piece by piece, as the database writes it.

    log/<stream>/<file>.<offset>.<size>.<whole|part>.<session>/<SHA-256>

The listing of a stream tells all that is to be told without opening anything: which files there
are, how much of each, and which sessions they need. A piece that another one covers is superseded:
the writer that stores a whole file deletes the parts of it; one that stays behind does no harm.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256

from drctl.codec import logpiece
from drctl.codec.limits import LOG_PIECE_MAX_BYTES
from drctl.codec.logpiece import Place
from drctl.codec.recipients import Identity
from drctl.codec.seal import DataSeal
from drctl.errors import AlreadyExists, IntegrityError, KeyUnavailable, NotFound, StorageError
from drctl.logpieces import LogPiece, by_file, in_order, superseded
from drctl.repository import names, trash
from drctl.repository.repository import Repository
from drctl.storage.base import Buffer, Storage, is_there

_TRIES = 3
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_NAME = re.compile(
    r"log/(?P<stream>[0-9a-f]{16})/(?P<file>[A-Za-z0-9][A-Za-z0-9._-]{0,119})"
    r"\.(?P<offset>[0-9a-f]{16})\.(?P<size>[0-9a-f]{8})\.(?P<end>whole|part)"
    r"\.(?P<session>[0-9a-f]{32})/[0-9a-f]{64}"
)


class LogWriter:
    """Stores the log of one stream. It needs the writer credential only, and cannot read back."""

    def __init__(self, repository: Repository, stream: bytes, level: int = 3) -> None:
        self._repository = repository
        self._stream = stream
        self._level = level
        self._session: tuple[bytes, DataSeal] | None = None
        self._number = 0

    @property
    def stream(self) -> str:
        """16 hexadecimal digits: a snapshot's fact `log_stream`."""
        return self._stream.hex()

    def pieces(self, file: str = "") -> tuple[LogPiece, ...]:
        """What is stored of the stream, or of one file. Raises StorageError, IntegrityError."""
        return listed(self._repository.storage, self.stream, file)

    def append(self, file: str, offset: int, data: Buffer, *, whole: bool = False) -> None:
        """Store `data`, which stands in the file at `offset`; `whole`: the file ends with it.

        Durable when it returns. What is stored is never replaced. Raises StorageError.
        """
        if not _FILE.fullmatch(file):
            raise StorageError(f"'{file}' cannot be the name of a log file")
        view = memoryview(data)
        for begin, end in _parts(offset, len(view)):
            piece = view[begin - offset : end - offset]
            self._put(file, begin, piece, whole=whole and end == offset + len(view))

    def _put(self, file: str, offset: int, plain: Buffer, *, whole: bool) -> None:
        """A writer lives for months. When all that it stored has been outlived, its session goes
        with it, so whether it stays is asked with each file, once a piece is there that needs it:
        a sweep that did not see the piece had a mark before that."""
        for _ in range(_TRIES):
            begins = offset == 0 or self._session is None
            name, session = self._store(file, offset, plain, whole=whole)
            if not begins or self._stays(session):
                return
            self._session = None
            self._repository.storage.delete(name)  # nobody could open it
        raise StorageError(f"{self._repository.where}: collection takes every new session away")

    def _store(self, file: str, offset: int, plain: Buffer, *, whole: bool) -> tuple[str, bytes]:
        """Gives the piece's name and its session."""
        session, number = self._next_number()
        place = Place(self._stream, file, offset)
        data = logpiece.encode(
            self._repository.secrets,
            session,
            number,
            place,
            plain,
            whole=whole,
            level=self._level,
        )
        end = "whole" if whole else "part"
        folder = f"{file}.{offset:016x}.{len(plain):08x}.{end}.{session[0].hex()}"
        name = f"{names.LOG}{self.stream}/{folder}/{sha256(data).hexdigest()}"
        with suppress(AlreadyExists):  # a retry whose first answer was lost
            self._repository.storage.put(name, data)
        return name, session[0]

    def _stays(self, session: bytes) -> bool:
        """Marks are looked at first: one that is gone by then has taken the session with it."""
        if session in trash.condemned(self._repository).sessions:
            return False
        return is_there(self._repository.storage, names.SESSIONS + session.hex())

    def _next_number(self) -> tuple[tuple[bytes, DataSeal], int]:
        """A run that stores nothing makes no session; a number is never given twice."""
        if self._session is None:
            self._session = self._repository.start_session()
        self._number += 1
        return self._session, self._number

    def differs(self, piece: LogPiece, plain: Buffer) -> bool:
        """Whether a stored piece holds something else than `plain`: what the file has from the
        piece's offset on. Nothing is opened for it. Raises StorageError, IntegrityError."""
        storage = self._repository.storage
        with self._repository.naming(piece.name):
            head = logpiece.decode_head(storage.get(piece.name, 0, logpiece.HEAD_BYTES))
        own = memoryview(plain)[: piece.size]
        place = Place(self._stream, piece.file, piece.offset)
        return logpiece.proof(self._repository.secrets, place, own) != head.proof

    def clean(self, file: str) -> int:
        """Delete what a longer piece of the file covers. Gives how many. That the storage forbids
        deleting is no failure: what stays does no harm."""
        needless = superseded(self.pieces(file))
        for deleted, piece in enumerate(needless):
            try:
                self._repository.storage.delete(piece.name)
            except StorageError:
                return deleted
        return len(needless)

    def is_whole(self, file: str) -> bool:
        """Whether all of a file is stored, without a gap."""
        found = by_file(self.pieces(file)).get(file)
        return found is not None and found.whole


class LogReader:
    """Reads a stream back with an identity; see engines.base.Log."""

    def __init__(self, repository: Repository, identity: Identity, stream: str) -> None:
        self._repository = repository
        self._identity = identity
        self._stream = stream
        self._seals: dict[bytes, DataSeal] = {}

    def pieces(self) -> tuple[LogPiece, ...]:
        return listed(self._repository.storage, self._stream)

    def read(self, piece: LogPiece) -> bytes:
        try:
            data = self._repository.storage.get(piece.name)
        except NotFound as error:
            raise IntegrityError(f"{error.what}, though it was listed") from error
        if sha256(data).hexdigest() != names.digest_of(piece.name):
            raise IntegrityError(f"{self._repository.where}: {piece.name} is not what was written")
        with self._repository.naming(piece.name):
            return self._open(piece, data)

    def prove(self, name: str, data: bytes) -> None:
        """A whole object opens, and is what its name says. Raises as `read` does."""
        found = piece(self._repository.where, name, 0)
        with self._repository.naming(name):
            self._open(found, data)

    def _open(self, piece: LogPiece, data: bytes) -> bytes:
        head = logpiece.decode_head(data)
        if (head.size, head.whole) != (piece.size, piece.whole):
            raise IntegrityError("stands under another's name")
        stream = bytes.fromhex(piece.name.split("/")[1])
        place = Place(stream, piece.file, piece.offset)
        return logpiece.decode(self._repository.secrets, self._seal(head.session), place, data)

    def _seal(self, session: bytes) -> DataSeal:
        if session not in self._seals:
            try:
                self._seals[session] = self._repository.open_session(session, self._identity)
            except NotFound as error:
                raise IntegrityError(f"{error.what}, though a log needs it") from error
            except KeyUnavailable as error:
                raise KeyUnavailable(
                    f"identity {self._identity.name} does not open session {session.hex()[:8]}",
                    hint="give an identity that was a recipient when the log was stored",
                ) from error
        return self._seals[session]


def _parts(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Pieces end at multiples of the most that one may hold, so that a whole file's pieces cover
    every part that was stored before. A file without bytes is one empty piece."""
    end = offset + size
    if not size:
        yield offset, end
    while offset < end:
        border = (offset // LOG_PIECE_MAX_BYTES + 1) * LOG_PIECE_MAX_BYTES
        yield offset, min(border, end)
        offset = border


def listed(storage: Storage, stream: str, file: str = "") -> tuple[LogPiece, ...]:
    """The pieces of a stream, or of one file of it, by file and offset, from one listing. What else
    lies there is passed over: a verification tells of it."""
    prefix = f"{names.LOG}{stream}/{f'{file}.' if file else ''}"
    there = (info for info in storage.list(prefix) if is_piece(info.name))
    found = [piece(storage.where, i.name, i.modified_ns) for i in there]
    wanted = [piece for piece in found if file in ("", piece.file)]
    return tuple(sorted(wanted, key=lambda p: (in_order(p.file), p.offset, p.name)))


def needed(pieces: Iterable[LogPiece], first: str) -> set[str]:
    """What a snapshot needs of a log's pieces that goes on from the file `first`, and what opens
    them."""
    begin = in_order(first)
    found = [
        piece.name
        for piece in pieces
        if in_order(piece.file) >= begin or piece.file.endswith(".history")
    ]
    return {*found, *(names.SESSIONS + session_of("", name) for name in found)}


def is_piece(name: str) -> bool:
    """Whether it is named as one. A disk may hold other files, too: see names.is_id."""
    return bool(_NAME.fullmatch(name))


def piece(where: str, name: str, stored_at_ns: int) -> LogPiece:
    """What a piece's name tells. Raises IntegrityError."""
    part = _parsed(where, name)
    offset, size = int(part["offset"], 16), int(part["size"], 16)
    return LogPiece(name, part["file"], offset, size, part["end"] == "whole", stored_at_ns)


def session_of(where: str, name: str) -> str:
    """The session that a piece needs, from its name alone: 32 hexadecimal digits."""
    return str(_parsed(where, name)["session"])


def _parsed(where: str, name: str) -> re.Match[str]:
    found = _NAME.fullmatch(name)
    if not found:
        raise IntegrityError(f"{where}: {name} is not the name of a piece of a log")
    return found


def check(where: str, name: str, data: bytes) -> None:
    """What anyone can prove of a piece without a key, beside its digest: that its head is what its
    name says. Raises IntegrityError naming it."""
    part = _parsed(where, name)
    try:
        head = logpiece.decode_head(data)
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {name} {error.what}") from error
    told = (part["session"], int(part["size"], 16), part["end"] == "whole")
    if told != (head.session.hex(), head.size, head.whole):
        raise IntegrityError(f"{where}: {name} stands under another's name")
