"""Locks are noticed by who has none, at no cost."""

from collections.abc import Callable

import pytest

from drctl.clock import SystemClock
from drctl.storage.s3_lock import Lock
from drctl.storage.s3_watch import WatchfulS3

HOUR = Lock("GOVERNANCE", 3600)


class Watch:
    """A storage without a lock, what it was told, and how many requests it made."""

    def __init__(self, s3_server, bucket: str) -> None:
        self.told: list[int] = []
        self.requests: list[str] = []
        self.storage = WatchfulS3(bucket, "x", "config", self.told.append, **s3_server.rest())
        events = self.storage._client.meta.events
        events.register("before-call.s3", lambda model, **_: self.requests.append(model.name))


@pytest.fixture
def watch(s3_server) -> Callable[[str], Watch]:
    return lambda bucket: Watch(s3_server, bucket)


def test_a_lock_is_noticed_with_one_request_more_however_often_it_is_met(s3_server, watch) -> None:
    bucket = s3_server.new_bucket(locked=True)
    locked = s3_server.locked(bucket, "x", HOUR, SystemClock())
    for name in ("config", "other"):
        locked.put(name, b"1")
    found = watch(bucket)
    found.storage.get("other")
    assert found.told == []
    found.storage.get("config")
    found.storage.head("config")
    assert found.told == [locked.retained_until_ns("config")] * 2
    asked = ["GetObject", "GetObject", "GetObjectLockConfiguration", "HeadObject"]
    assert found.requests == asked


def test_where_nothing_is_locked_nothing_is_asked(s3_server, watch) -> None:
    for bucket in (s3_server.new_bucket(), s3_server.new_bucket(locked=True)):
        found = watch(bucket)
        found.storage.put("config", b"1")
        found.storage.get("config")
        assert found.told == []
        assert found.requests == ["PutObject", "GetObject"]


def test_a_bucket_that_locks_by_itself_is_as_good_as_a_plan_that_does(s3_server, watch) -> None:
    bucket = s3_server.new_bucket(locked=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    s3_server.client().put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    found = watch(bucket)
    found.storage.put("config", b"1")
    assert s3_server.client().head_object(Bucket=bucket, Key="x/config")["ObjectLockMode"]
    found.storage.get("config")
    assert found.told == []
