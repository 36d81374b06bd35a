"""What the other end of a connection to Redis may do."""

import socket
import threading

import pytest

from drctl.engines.redis_client import Connection, Place
from drctl.errors import SourceError


@pytest.mark.parametrize("heard", [True, False], ids=["closed", "reset"])
def test_a_connection_that_the_server_ends_is_told_as_broken_off_however_it_ended(
    tmp_path, heard
) -> None:
    """A server that dies with something unread resets the connection; otherwise it ends."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def end() -> None:
            near, _ = listening.accept()
            near.recv(1000, 0 if heard else socket.MSG_PEEK)
            near.close()

        ending = threading.Thread(target=end)
        ending.start()
        broken_off = pytest.raises(SourceError, match="the server broke the connection off")
        with Connection(Place(path, 0)) as server, broken_off:
            server.call("PING")
        ending.join()
