"""What a writing host remembers of an asset's last snapshot: entries and their signatures.

A writing host cannot open the entries that it stored, so it keeps them here, in path order, read
as a stream. The state is only ever a help: without it, or when it is damaged, files are read again
and nothing is stored twice.

    b"DRCTLST1" | frames, each: u32 length | zstd of msgpack [Remembered, ...] | u32 0
    | b"DRCTLSNP" | name of the snapshot, 64 hexadecimal digits | u64 when its run began
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

import msgspec
import zstandard

from drctl.codec import UNREADABLE
from drctl.codec.limits import TABLE_MAX_BYTES
from drctl.codec.seal import decompress
from drctl.errors import Busy, IntegrityError, StorageError
from drctl.model import Entry
from drctl.private import make_directory

MAGIC = b"DRCTLST1"
_LENGTH = struct.Struct("<I")
_OF_MAGIC = b"DRCTLSNP"
_OF = struct.Struct("<8s64sQ")
_FRAME_ENTRIES = 1024


class Remembered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`leaves`: the ids of the content's blobs where the entry itself only names lists of them."""

    signature: bytes
    entry: Entry
    leaves: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Remembered]).decode


class Of(msgspec.Struct, frozen=True):
    """Which snapshot a state is of, and when its run began, by that run's clock. No name: nobody
    knows."""

    name: str = ""
    started_at_ns: int = 0


class StateFile:
    """The state of one asset at `path`. What it holds is as secret as the asset's file names."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self) -> Iterator[Remembered]:
        """In entry order. Ends early at the first damage: what follows is read again."""
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed below, once it is open
        except OSError:
            return
        with file, suppress(IntegrityError, *UNREADABLE, OSError):
            if file.read(len(MAGIC)) != MAGIC:
                return
            yield from _frames(file)

    def begun_at_ns(self) -> int:
        """When the run of the last state began, by this machine's clock of that time; 0: never."""
        try:
            return os.stat(self._path).st_mtime_ns
        except OSError:
            return 0

    def of(self) -> Of:
        """What an older drctl wrote does not tell."""
        with suppress(OSError), open(self._path, "rb") as file:
            file.seek(-_OF.size, os.SEEK_END)
            magic, name, started_at_ns = _OF.unpack(file.read(_OF.size))
            if magic == _OF_MAGIC:
                return Of(name.decode("ascii", "replace"), started_at_ns)
        return Of()

    def replace(self) -> "StateWriter":
        """A new state, which takes the old one's place at `commit`. Raises StorageError."""
        try:
            make_directory(os.path.dirname(self._path))
            return StateWriter(self._path)
        except OSError as error:
            raise _trouble(self._path, error) from error


def _frames(file: BinaryIO) -> Iterator[Remembered]:
    """A length that is wrong must not make us ask for gigabytes."""
    size = os.fstat(file.fileno()).st_size
    while True:
        head = file.read(_LENGTH.size)
        length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else 0
        if not 0 < length <= size - file.tell():
            return
        packed = file.read(length)
        yield from _decode(decompress(packed, TABLE_MAX_BYTES))


class StateWriter:
    """Collects what is remembered. Leaving it without `commit` keeps the old state.

    A state that cannot be written, on a full disk say, must not cost a snapshot: there is none
    then, and `trouble` says why.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._new = f"{path}.new"
        descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 20)
        self._file.write(MAGIC)
        self._begun_ns = os.fstat(descriptor).st_mtime_ns
        self._held: list[Remembered] = []
        # With a checksum: an entry that is taken over must be the one that was remembered.
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        self.trouble = ""

    def add(self, remembered: Remembered) -> None:
        self._held.append(remembered)
        if len(self._held) >= _FRAME_ENTRIES:
            self._write()

    def _write(self) -> None:
        packed = self._compressor.compress(_encode(self._held))
        self._held.clear()
        with self._noting_trouble():
            self._file.write(_LENGTH.pack(len(packed)) + packed)

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.trouble = f"{self._path}: the state cannot be written: {error.strerror}"

    def commit(self, of: Of) -> None:
        """The snapshot is committed: this is its state. Not fsynced: losing it costs time only,
        and a torn one ends at its first damaged frame."""
        if self._held:
            self._write()
        with self._noting_trouble():
            self._file.write(_LENGTH.pack(0))
            self._file.write(_OF.pack(_OF_MAGIC, of.name.encode(), of.started_at_ns))
            self._file.close()
            if not self.trouble:
                os.utime(self._new, ns=(self._begun_ns, self._begun_ns))
                os.replace(self._new, self._path)

    def __enter__(self) -> "StateWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._new)


def remembered(directory: str) -> list[str]:
    """The assets of which a snapshot was committed by this host, and whose states lie there."""
    with suppress(OSError):
        return sorted(n.removesuffix(".state") for n in os.listdir(directory) if n[-6:] == ".state")
    return []


def _trouble(path: str, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: the state cannot be written: {error.strerror}",
        hint="make room or rights there, or point DRCTL_STATE_DIR elsewhere",
    )


def no_locks(path: str, error: OSError) -> StorageError:
    """A file server without locks, say."""
    return StorageError(
        f"{path}: it cannot be locked: {error.strerror}",
        hint="what keeps two runs apart must lie on a disk that knows locks: point DRCTL_STATE_DIR "
        "to one of this machine's own",
    )


@contextmanager
def exclusive(path: str, what: str, hint: str = "wait until it ends") -> Iterator[None]:
    """Hold a lock file. It goes with the process, so a killed run leaves no lock behind.
    Raises Busy while another run holds it."""
    try:
        make_directory(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _trouble(path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Busy(f"{what} is already running here", hint=hint) from error
    except OSError as error:
        os.close(descriptor)
        raise no_locks(path, error) from error
    try:
        yield
    finally:
        os.close(descriptor)
