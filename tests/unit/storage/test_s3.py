"""S3 as it fails: on a real server, through a proxy that breaks connections."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from servers import S3Server, free_ports

from drctl.clock import SystemClock
from drctl.errors import AlreadyExists, KeyUnavailable, NotFound, StorageError, StorageFault
from drctl.storage.retry import Retry
from drctl.storage.s3 import S3, Credentials

DATA = bytes(range(256)) * 4096


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


def test_an_answer_that_breaks_off_is_a_fault_and_never_short_data(s3_server, bucket, proxy):
    s3_server.storage(bucket).put("name", DATA)
    storage = s3_server.storage(bucket, endpoint=proxy.endpoint)
    proxy.cut_after = 100_000
    with pytest.raises(StorageFault):
        storage.get("name")
    assert proxy.cuts >= 1


def test_a_connection_that_breaks_again_and_again_is_retried(s3_server, bucket, proxy) -> None:
    s3_server.storage(bucket).put("name", DATA)
    storage = Retry(
        s3_server.storage(bucket, endpoint=proxy.endpoint), SystemClock(), first_wait_seconds=0.01
    )
    proxy.cut_after, proxy.most_cuts = 100_000, 3
    assert storage.get("name") == DATA
    assert proxy.cuts == 3


def test_nobody_listening_is_a_passing_fault(s3_server, bucket) -> None:
    storage = s3_server.storage(bucket, endpoint=f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(StorageFault) as raised:
        storage.get("name")
    assert "reachable" in raised.value.hint


def test_an_unknown_access_key_is_final(s3_server, bucket) -> None:
    credentials = Credentials("nobody", "nothing", "", "")
    with pytest.raises(StorageError) as raised:
        S3(bucket, endpoint=s3_server.endpoint, credentials=credentials).put("name", b"data")
    assert not isinstance(raised.value, StorageFault)
    assert "access key" in raised.value.hint


def test_a_wrong_secret_is_final_and_shown_nowhere(s3_server, bucket) -> None:
    credentials = Credentials("tester", "wrong-secret-words", "", "")
    storage = S3(bucket, endpoint=s3_server.endpoint, credentials=credentials)
    with pytest.raises(StorageError) as raised:
        storage.put("name", b"data")
    assert not isinstance(raised.value, StorageFault)
    assert "secret key is wrong" in raised.value.hint
    assert "wrong-secret-words" not in f"{raised.value!r} {storage!r} {credentials!r}"


def test_a_profile_that_is_not_there_is_a_matter_of_keys(s3_server, bucket) -> None:
    credentials = Credentials("", "", "", "no-such-profile")
    with pytest.raises(KeyUnavailable):
        S3(bucket, endpoint=s3_server.endpoint, credentials=credentials).get("name")


def test_nothing_is_overwritten_and_missing_is_missing(s3_server, bucket) -> None:
    storage = s3_server.storage(bucket)
    storage.put("name", b"first")
    with pytest.raises(AlreadyExists):
        storage.put("name", b"second")
    assert storage.get("name") == b"first"
    with pytest.raises(NotFound):
        storage.get("other")


class Gone(BaseHTTPRequestHandler):
    """What a server of another make answers to the second delete of the same."""

    code = "NoSuchKey"

    def do_DELETE(self) -> None:
        body = f"<Error><Code>{self.code}</Code><Message>it is gone</Message></Error>".encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


class NoBucket(Gone):
    code = "NoSuchBucket"


@pytest.fixture
def answering() -> Iterator[list[HTTPServer]]:
    servers = [HTTPServer(("127.0.0.1", 0), answer) for answer in (Gone, NoBucket)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def test_that_it_is_gone_already_is_success_whatever_the_server_says(answering) -> None:
    keys = Credentials("tester", "not-a-secret", "", "")
    gone, no_bucket = (
        S3("bucket", endpoint=f"http://127.0.0.1:{server.server_port}", credentials=keys)
        for server in answering
    )
    gone.delete("name")
    with pytest.raises(StorageError, match="NoSuchBucket"):
        no_bucket.delete("name")


def test_two_prefixes_in_one_bucket_do_not_see_each_other(s3_server, bucket) -> None:
    one, two = s3_server.storage(bucket, "one"), s3_server.storage(bucket, "two")
    one.put("config", b"one")
    two.put("config", b"two")
    assert [info.name for info in one.list()] == ["config"]
    assert (one.get("config"), two.get("config")) == (b"one", b"two")
