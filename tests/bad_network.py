"""An HTTP proxy before a real S3 server, that spoils requests as networks and servers do."""

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>busy</Message></Error>"
PORTAL = b"<html><body>Please log in to this network.</body></html>"
KINDS = ("busy", "reset", "answer lost", "late", "hangs", "portal", "cut")


class BadNetwork:
    """Spoils a share of the requests, in the ways of `kinds`; the seed says which."""

    def __init__(self, port: int, share: float, kinds: tuple[str, ...] = KINDS, seed: int = 1):
        self.to = port
        self.share = share
        self.kinds = kinds
        self.spoilt: Counter[str] = Counter()
        self.requests = 0
        self.hangs_seconds = 5.0
        self.over = threading.Event()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def next_fault(self, _wanted: str) -> str:
        """What becomes of the next request, for a range of bytes perhaps; "" lets it through."""
        with self._lock:
            self.requests += 1
            if self._chance.random() >= self.share:
                return ""
            kind = self._chance.choice(self.kinds)
            self.spoilt[kind] += 1
            return kind

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"network": self})


class _Handler(BaseHTTPRequestHandler):
    """One connection; several requests may come over it."""

    network: BadNetwork
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.network.next_fault(self.headers.get("Range") or "")
        if fault == "reset":
            return self._reset()
        if fault == "busy":
            return self._answer(503, [("Content-Type", "application/xml")], BUSY)
        if fault == "portal":
            return self._answer(200, [("Content-Type", "text/html")], PORTAL)
        if fault == "hangs":
            self.network.over.wait(self.network.hangs_seconds)
            return self._reset()
        if fault == "late":
            self.network.over.wait(0.2)
        status, headers, data = self._forward(body)
        if fault == "answer lost":
            return self._reset()
        return self._answer(status, headers, data, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any  # noqa: N815 - the library's names

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """As it came: its signature covers the headers."""
        far = http.client.HTTPConnection("127.0.0.1", self.network.to)
        far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"expect", "connection"}:
                far.putheader(name, value)
        far.endheaders(body or None)
        answer = far.getresponse()
        data = answer.read()
        far.close()
        return answer.status, answer.getheaders(), data

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        told = {name.lower(): value for name, value in headers}
        length = told.get("content-length") if self.command == "HEAD" else None
        for name, value in headers:
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._reset()

    def _reset(self) -> None:
        """Not a farewell but a reset: whatever was under way is lost."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client had enough
