"""What all tests share: a real S3 server, started once for a whole run; how examples are drawn."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

from servers import Proxy, S3Server, shared_s3

# A run in the background ignores interrupts, and so would every command of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # under nohup we go on, they are as ever

# How long an example takes says how busy the machine is. The same ones are drawn each time, so that
# what fails fails for everybody; --hypothesis-profile=explore draws others.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", CALM)
settings.register_profile("drctl", CALM, derandomize=True)
settings.load_profile("drctl")


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory, request) -> Iterator[S3Server]:
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent  # several processes run the tests: their directories lie in one
    with shared_s3(base / "s3-server") as server:
        yield server


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    made = Proxy(s3_server.port)
    yield made
    made.close()
