"""The door of a clean place: to one server, whole, and to nobody else."""

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from drctl.engines.s3bucket_place import S3Place, is_server_of
from drctl.ops.recovery.door import Door

MUCH = os.urandom(3 << 20)


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    """Says what it heard, once the other end has said all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    asked = listening.accept()[0]
                except OSError:
                    return
                with asked:
                    asked.sendall(heard(asked))

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def ask(server) -> Iterator[partial[bytes]]:
    """Asks at a door that leads to the server, and hears all that comes back."""
    door = Door(lambda host, port: (host, port) == server or port == 9)
    with socket.create_server(("127.0.0.1", 0)) as inside:
        with door.theirs as out:
            socket.send_fds(out, [b"."], [inside.fileno()])
        yield partial(asked, inside.getsockname())
        door.close()


def asked(door: tuple[str, int], head: str, more: bytes = b"") -> bytes:
    with socket.create_connection(door) as asking:
        asking.sendall(head.encode())
        if not head.startswith("CONNECT") or not more:
            asking.shutdown(socket.SHUT_WR)
            return heard(asking)
        answer = asking.recv(100)
        threading.Thread(target=say, args=(asking, more)).start()
        return answer + heard(asking)


def say(asking: socket.socket, more: bytes) -> None:
    asking.sendall(more)
    asking.shutdown(socket.SHUT_WR)


def heard(asked: socket.socket) -> bytes:
    found = b""
    while piece := asked.recv(1 << 16):
        found += piece
    return found


def test_a_tunnel_carries_everything_both_ways(server, ask) -> None:
    answer = ask(f"CONNECT 127.0.0.1:{server[1]} HTTP/1.1\r\n\r\n", MUCH)
    assert answer == b"HTTP/1.1 200 Joined\r\n\r\n" + MUCH


def test_a_request_without_a_tunnel_goes_through_as_it_is(server, ask) -> None:
    request = f"PUT http://127.0.0.1:{server[1]}/a?b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz"
    assert ask(request) == request.encode()


@pytest.mark.parametrize(
    "head",
    [
        "CONNECT 127.0.0.1:1 HTTP/1.1",
        "CONNECT 169.254.169.254:80 HTTP/1.1",
        "GET http://169.254.169.254/latest/meta-data HTTP/1.1",
        "GET / HTTP/1.1",
        "CONNECT :::: HTTP/1.1",
        "\x00",
    ],
)
def test_nobody_else_is_let_through(ask, head) -> None:
    assert ask(f"{head}\r\n\r\n").startswith(b"HTTP/1.1 403 ")


def test_a_server_that_does_not_answer_is_told(ask) -> None:
    assert ask("CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 502 ")


def test_a_door_that_nobody_came_to_closes() -> None:
    Door(lambda *_: True).close()


@pytest.mark.parametrize(
    ("host", "port", "is_it"),
    [
        ("s3.amazonaws.com", 443, True),
        ("mine.s3.eu-central-1.amazonaws.com", 443, True),
        ("S3.eu-central-1.amazonaws.com", 443, True),
        ("s3.amazonaws.com", 80, False),
        ("other.s3.eu-central-1.amazonaws.com", 443, False),
        ("mine.s3.amazonaws.com.evil.example", 443, False),
        ("sts.amazonaws.com", 443, False),
    ],
)
def test_amazon_is_asked_by_bucket_and_region(host, port, is_it) -> None:
    assert is_server_of(S3Place(bucket="mine"), host, port) is is_it


def test_a_server_of_ones_own_is_asked_at_its_address_alone() -> None:
    place = S3Place(bucket="mine", endpoint="https://s3.example.com:9000/")
    assert is_server_of(place, "s3.example.com", 9000)
    assert not is_server_of(place, "s3.example.com", 443)
    assert not is_server_of(place, "mine.s3.example.com", 9000)


def test_a_door_that_is_closed_as_soon_as_there_is_one_keeps_nobody_waiting() -> None:
    for _ in range(200):
        door = Door(lambda *_: False)
        with socket.create_server(("127.0.0.1", 0)) as inside, door.theirs as out:
            socket.send_fds(out, [b"."], [inside.fileno()])
            door.close()
