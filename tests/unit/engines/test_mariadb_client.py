"""How a MariaDB server is reached, and what is told where it is not."""

import socket
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from drctl.clock import SystemClock
from drctl.engines import redis
from drctl.engines.base import Surroundings
from drctl.engines.mariadb_client import Access, Settings
from drctl.errors import SourceError
from drctl.events import Silent


def told(host: str) -> SourceError:
    access = Access(Settings(host=host), Surroundings(SystemClock(), Silent(), "/", "/"))
    with pytest.raises(SourceError) as found, access.connect():
        pass
    return found.value


def test_a_connection_that_the_server_breaks_off_is_no_matter_of_the_plan(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()

        def end() -> None:
            server.accept()[0].close()

        ends = threading.Thread(target=end)
        ends.start()
        assert "look at the server's log" in told(str(tmp_path / "socket")).hint
        ends.join()
    assert "is 'host' in the plan right" in told(str(tmp_path / "nowhere")).hint


@pytest.mark.parametrize("host", ["db..example.com", "x" * 64])
@pytest.mark.parametrize("settings", [Settings, redis.Settings])
def test_what_can_be_no_servers_name_is_a_mistake_of_the_plan(settings, host: str) -> None:
    """To look it up would end in a traceback."""
    with pytest.raises(ValidationError, match="is no name of a server"):
        settings(host=host)
    assert settings(host="::1").host == "::1"
