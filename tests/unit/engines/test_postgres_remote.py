"""A base over the wire that does not come to its end."""

import io
import tarfile
from typing import Any, cast

import pytest
from psycopg import pq

from drctl.clock import SystemClock
from drctl.engines.base import Surroundings
from drctl.engines.postgres_client import Client, Cluster, Settings
from drctl.engines.postgres_remote import RemoteCapture, _Feed
from drctl.errors import SourceError
from drctl.events import Silent


def test_an_archive_that_breaks_off_in_what_is_passed_over_is_an_error() -> None:
    sent = io.BytesIO()
    with tarfile.open(fileobj=sent, mode="w") as archive:
        member = tarfile.TarInfo("base/1/1")
        member.size = 5_000_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    around = Surroundings(SystemClock(), Silent(), "/", "/")
    client = Client(Settings(), "orders", around)
    cluster = Cluster(150000, "1", 1, 1 << 20, 8192, checksums=True, in_recovery=False)
    about = "orders", cluster, dict[str, str](), around
    wire = pq.PGconn.connect_start(b"host=/nowhere")
    capture = RemoteCapture(wire, cast(Any, None), client, *about)
    feed = _Feed(iter([b"d" + sent.getvalue()[:2_000_000]]))
    with pytest.raises(SourceError, match="the server broke off"):
        list(capture._archive(feed, b"", b""))
