"""An object that is put back in parts: answers that are lost on the way, by a real server."""

from collections.abc import Iterator

import pytest
from bad_network import BadNetwork
from servers import ACCESS_KEY, SECRET_KEY, S3Server

from drctl.clock import SystemClock
from drctl.engines.s3bucket_client import Bucket
from drctl.errors import AlreadyExists
from drctl.storage.s3 import Credentials

PARTS = (b"x" * (5 << 20), b"the end")


class LosesOne(BadNetwork):
    """The answer to the next request does not arrive."""

    loses = False

    def next_fault(self, _wanted: str) -> str:
        is_lost, self.loses = self.loses, False
        return "answer lost" if is_lost else ""


@pytest.fixture
def network(s3_server: S3Server) -> Iterator[LosesOne]:
    made = LosesOne(s3_server.port, 0.0)
    yield made
    made.close()


@pytest.fixture
def bucket(s3_server: S3Server, network: LosesOne) -> Iterator[Bucket]:
    keys = Credentials(ACCESS_KEY, SECRET_KEY, "", "")
    place = {"endpoint": network.endpoint, "region": "us-east-1", "credentials": keys}
    made = Bucket(s3_server.new_bucket(), "", SystemClock(), **place)
    yield made
    made.close()


def in_parts(bucket: Bucket, key: str) -> tuple[str, list[object]]:
    upload = bucket.begin(key, ())
    return upload, [bucket.put_part(key, upload, n, data) for n, data in enumerate(PARTS, 1)]


def test_an_object_whose_last_answer_was_lost_is_there(bucket, network) -> None:
    """It was told as one that somebody else had put there meanwhile."""
    upload, parts = in_parts(bucket, "film")
    network.loses = True
    bucket.complete("film", upload, parts)
    assert bucket.get("film") == b"".join(PARTS)


def test_an_object_of_somebody_else_is_not_taken_for_ours(bucket, network) -> None:
    upload, parts = in_parts(bucket, "film")
    bucket.put("film", b"his")
    network.loses = True
    with pytest.raises(AlreadyExists):
        bucket.complete("film", upload, parts)
    assert bucket.get("film") == b"his"
