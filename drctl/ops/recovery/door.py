"""The one way out of a clean place: to the server of one repository, and to no other.

A socket that listens belongs to the network in which it was made, whoever holds it. So it is made
inside and handed out, and this drctl answers it as a proxy does: whoever asks for the repository's
own server is joined with it, and everybody else is refused. Bytes pass as they come: TLS goes from
end to end, and the credentials are those of whoever asks.
"""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

_HEAD_BYTES = 1 << 16
_PIECE_BYTES = 1 << 18
_ASKING_SECONDS = 30.0
_REACHING_SECONDS = 10.0
_CONNECT = re.compile(rb"CONNECT (\S+) HTTP/1\.[01]\r\n")
_WHOLE_URL = re.compile(rb"[A-Z]+ (http://\S+) HTTP/1\.[01]\r\n")
_JOINED = b"HTTP/1.1 200 Joined\r\n\r\n"
_REFUSED = b"HTTP/1.1 403 Not this repository\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_SILENT = b"HTTP/1.1 502 It does not answer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Door:
    """`theirs` goes to the program inside, which sends its listening socket through it and closes
    it. Call `close` in the end."""

    def __init__(self, leads_to: Callable[[str, int], bool]) -> None:
        """`leads_to`: whether a host and port are those of the repository."""
        self._leads_to = leads_to
        self._listening: socket.socket | None = None
        self._is_closed = False
        self._ours, self.theirs = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Nobody is let through any more."""
        self._is_closed = True
        self.theirs.close()
        for end in (self._ours, self._listening):
            if end:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # whoever waits for it wakes up
        self._thread.join()
        self._ours.close()

    def _serve(self) -> None:
        with suppress(OSError):  # it was closed
            found = socket.recv_fds(self._ours, 1, 1)[1]
            if not found:
                return  # there is nobody inside
            with socket.socket(fileno=found[0]) as listening:
                self._listening = listening
                while not self._is_closed:  # it may have been before there was anything to close
                    asking = listening.accept()[0]
                    threading.Thread(target=self._answer, args=(asking,), daemon=True).start()

    def _answer(self, asking: socket.socket) -> None:
        with suppress(OSError), asking:  # whoever asked has gone
            asking.settimeout(_ASKING_SECONDS)
            head = _head(asking)
            to = _asked_for(head)
            if to is None or not self._leads_to(*to):
                asking.sendall(_REFUSED)
                return
            there = _reached(to)
            if there is None:
                asking.sendall(_SILENT)
                return
            with there:
                if _CONNECT.match(head):
                    asking.sendall(_JOINED)
                else:
                    there.sendall(head)
                _join(asking, there)


def _head(asking: socket.socket) -> bytes:
    """What is asked, up to the empty line, and what came with it."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
        piece = asking.recv(_HEAD_BYTES)
        if not piece:
            break
        head += piece
    return head


def _asked_for(head: bytes) -> tuple[str, int] | None:
    """Host and port: of a tunnel, or of a request that goes through as it is; None for others."""
    tunnel, whole = _CONNECT.match(head), _WHOLE_URL.match(head)
    try:
        if tunnel:
            return _server_of(b"//" + tunnel[1])
        return _server_of(whole[1]) if whole else None
    except ValueError:
        return None


def _server_of(url: bytes) -> tuple[str, int]:
    found = urlsplit(url.decode("ascii"))
    return found.hostname or "", found.port or 80


def _reached(to: tuple[str, int]) -> socket.socket | None:
    try:
        there = socket.create_connection(to, _REACHING_SECONDS)
    except OSError:
        return None
    there.settimeout(None)
    return there


def _join(asking: socket.socket, there: socket.socket) -> None:
    """Until both have said all."""
    asking.settimeout(None)
    back = threading.Thread(target=_pass_on, args=(there, asking), daemon=True)
    back.start()
    _pass_on(asking, there)
    back.join()


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    piece = memoryview(bytearray(_PIECE_BYTES))
    with suppress(OSError):  # one of them broke off, which the other is told
        while count := source.recv_into(piece):
            to.sendall(piece[:count])
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
