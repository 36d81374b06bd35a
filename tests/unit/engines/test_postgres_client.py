"""How a PostgreSQL is reached."""

import socket

from psycopg import pq
from psycopg.conninfo import make_conninfo

from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.postgres_client import Client, Settings
from drctl.events import Silent

OPTIONS = (
    socket.TCP_KEEPIDLE,
    socket.TCP_KEEPINTVL,
    socket.TCP_KEEPCNT,
    socket.TCP_USER_TIMEOUT,
)


def test_a_host_that_vanishes_is_noticed_within_a_minute() -> None:
    """What libpq makes of it, on a connection to one that says nothing."""
    around = Surroundings(SystemClock(), Silent(), "/", "/")
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = Settings(host="127.0.0.1", port=server.getsockname()[1], database_role="drctl")
        where = make_conninfo(**Client(settings, "orders", around).parameters())
        connecting = pq.PGconn.connect_start(where.encode())
        ours = socket.socket(fileno=connecting.socket)
        told = [ours.getsockopt(socket.IPPROTO_TCP, option) for option in OPTIONS]
        ours.detach()
        connecting.finish()
    assert told == [30, 10, 3, 60_000]
