"""Talking to a Redis server: commands, and the stream that it sends to a replica.

The protocol (RESP) is spoken here: what drctl needs most is the replication stream, which client
libraries do not give. Nothing secret reaches an argument, an environment or an error.
"""

import select
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from typing import BinaryIO

from drctl.engines.tree_look import reason
from drctl.errors import SourceError

_PIECE_BYTES = 1 << 20
_MARK_BYTES = 40  # of what ends a dump whose length the server did not know beforehand
_LINE_BYTES = 64 * 1024
_ENDED = (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)  # by the other side, unasked
_HINTS = {
    "NOAUTH": "set 'password' in the plan to where the password lies",
    "WRONGPASS": "the user or the password is wrong: look at 'user' and 'password' in the plan",
    "NOPERM": "grant the user what docs/engines/redis.md names",
    "LOADING": "the server is still reading its data: try again when it has",
    "NOMASTERLINK": "it is a replica that has lost its primary: name the primary, or mend the link",
    "MASTERDOWN": "it is a replica that has lost its primary: name the primary, or mend the link",
    "READONLY": "it is a replica: the marker must be written to the primary",
    "MOVED": "this server does not hold slot 'drctl:marker' of its cluster",
    "MISCONF": "the server cannot save its own data: look at its log",
}

Answer = str | int | bytes | None | list["Answer"]


class Refused(Exception):
    """The server said no; the text begins with its code, such as NOAUTH."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, and who asks."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    timeout_seconds: float = 60.0

    @property
    def shown(self) -> str:
        return self.host if self.host.startswith("/") else f"{self.host}:{self.port}"


class Connection:
    """One connection, logged in. Raises SourceError for whatever goes wrong; Refused where the
    server answers with an error. It is a context: leaving it closes the connection."""

    def __init__(self, place: Place) -> None:
        self._place = place
        try:
            self._socket = _connect(place)
        except OSError as error:
            raise self._lost(error) from error
        stream = socket.SocketIO(self._socket, "r")
        self._file = BufferedReader(stream, _PIECE_BYTES)
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def interrupt(self) -> None:
        """End what another thread asks: it raises. Nothing more can be asked."""
        with suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):  # it is gone already
            self._file.close()
            self._socket.close()

    def _log_in(self) -> None:
        place = self._place
        if not place.password and not place.user:
            return
        who = (place.user,) if place.user else ()
        try:
            self.call("AUTH", *who, place.password)
        except Refused as error:
            raise refused(place, "log in", error) from error

    # -- commands -----------------------------------------------------------------------------

    def call(self, *words: str | bytes | int) -> Answer:
        """The answer to one command."""
        self.send(*words)
        return self._answer()

    def send(self, *words: str | bytes | int) -> None:
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        wire = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        try:
            self._socket.sendall(b"*%d\r\n%s" % (len(parts), wire))
        except OSError as error:
            raise self._lost(error) from error

    def _answer(self) -> Answer:
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode("utf-8", "backslashreplace")
        if kind == b"-":
            raise Refused(rest.decode("utf-8", "backslashreplace"))
        if kind == b":":
            return self._number(rest)
        if kind == b"$":
            size = self._number(rest)
            return None if size < 0 else self._exactly(size + 2)[:-2]
        if kind == b"*":
            return [self._answer() for _ in range(self._number(rest))]
        raise self._nonsense()

    def line(self) -> bytes:
        """The next line, without its end; empty ones are signs of life and are passed over."""
        while True:
            try:
                line = self._file.readline(_LINE_BYTES)
            except OSError as error:
                raise self._lost(error) from error
            if not line.endswith(b"\n"):
                raise self._lost(None)
            if line.strip():
                return line.rstrip(b"\r\n")

    def line_within(self, seconds: float) -> bytes:
        """The next line if it comes soon; otherwise, and for an empty one, b"". Only right when
        everything that was sent before has been answered."""
        if not select.select([self._socket], [], [], seconds)[0]:
            return b""
        try:
            line = self._file.readline(_LINE_BYTES)
        except OSError as error:
            raise self._lost(error) from error
        if not line:
            raise self._lost(None)
        return line.strip()

    def info(self, part: str) -> dict[str, str]:
        """A part of what INFO tells."""
        told = self.call("INFO", part)
        text = told.decode("utf-8", "replace") if isinstance(told, bytes) else ""
        pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
        return {name: value for name, _, value in pairs}

    # -- the replication stream ---------------------------------------------------------------

    def receive(self, into: BinaryIO) -> int:
        """The dump that follows the answer to PSYNC, written to a file. Gives its length. Raises
        SourceError unless all of it came."""
        line = self.line()
        if line.startswith(b"-"):
            raise Refused(line[1:].decode("utf-8", "backslashreplace"))
        if not line.startswith(b"$"):
            raise self._nonsense()
        mark = line[len(b"$EOF:") :] if line.startswith(b"$EOF:") else b""
        if mark and len(mark) != _MARK_BYTES:
            raise self._nonsense()
        return self._until(mark, into) if mark else self._counted(self._number(line[1:]), into)

    def _counted(self, size: int, into: BinaryIO) -> int:
        left = size
        while left:
            piece = self._some(min(left, _PIECE_BYTES))
            left -= len(piece)
            into.write(piece)
        return size

    def _until(self, mark: bytes, into: BinaryIO) -> int:
        """The mark is not part of the dump. It may come in two pieces, so the last bytes are held
        back until more have come."""
        tail, size = b"", 0
        while True:
            tail += self._some(_PIECE_BYTES)
            done = tail.endswith(mark)
            ready, tail = tail[:-_MARK_BYTES], tail[-_MARK_BYTES:]
            size += len(ready)
            into.write(ready)
            if done:
                return size

    def _some(self, most: int) -> bytes:
        try:
            piece = self._file.read1(most)
        except OSError as error:
            raise self._lost(error) from error
        if not piece:
            raise self._lost(None)
        return piece

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise self._lost(error) from error
        if len(data) != size:
            raise self._lost(None)
        return data

    # -- errors -------------------------------------------------------------------------------

    def _number(self, text: bytes) -> int:
        try:
            return int(text)
        except ValueError as error:
            raise self._nonsense() from error

    def _nonsense(self) -> SourceError:
        return SourceError(
            f"{self._place.shown} does not answer as Redis does",
            hint="are 'host', 'port' and 'tls' right?",
        )

    def _lost(self, error: OSError | None) -> SourceError:
        where = self._place.shown
        if error is None or isinstance(error, _ENDED):
            return SourceError(
                f"{where}: the server broke the connection off",
                hint="look at its log: is client-output-buffer-limit too low, or did it stop?",
            )
        if isinstance(error, TimeoutError):
            seconds = f"{self._place.timeout_seconds:g}"
            return SourceError(
                f"{where}: no word for {seconds} s", hint="is it overloaded? 'timeout' sets this"
            )
        return SourceError(
            f"{where}: {reason(error)}", hint="is the server up, and 'host' and 'port' right?"
        )


def refused(place: Place, doing: str, error: Refused) -> SourceError:
    """What the server refused, with its own words."""
    hint = _HINTS.get(str(error).partition(" ")[0], "look at the server's log")
    return SourceError(f"{place.shown}: cannot {doing}: {error}", hint=hint)


def _connect(place: Place) -> socket.socket:
    """Raises OSError, of which ssl's errors are a kind."""
    if place.host.startswith("/"):
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            local.settimeout(place.timeout_seconds)
            local.connect(place.host)
        except BaseException:
            local.close()
            raise
        return local
    plain = socket.create_connection((place.host, place.port), place.timeout_seconds)
    if place.tls is None:
        return plain
    try:
        return place.tls.wrap_socket(plain, server_hostname=place.host)
    except BaseException:
        plain.close()
        raise
