"""A bucket of a real S3 server as an asset: what is in it comes back; what goes wrong is told."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from servers import ACCESS_KEY, SECRET_KEY, Proxy, S3Server
from small_plan import HEAD

from drctl.clock import SystemClock
from drctl.engines.base import Capture, Surroundings
from drctl.engines.s3bucket import ENGINE, Settings
from drctl.engines.s3bucket_order import Listed, ordered, path_of
from drctl.events import Silent
from drctl.model import sort_key

PLAN = (
    HEAD
    + """\
  orders:
    s3bucket:
      bucket: {bucket}
      endpoint: "{endpoint}"
      credentials: {{access_key: "env:THEIR_KEY", secret_key: "env:THEIR_SECRET"}}
      {more}
    schedule: hourly
    {limit}
"""
)
ODD = (
    "50% off",
    "a b/c+d",
    "a-b/x",
    "a/b/",
    "a/b/c",
    "a.b",
    "ünï/код",
    "plus+&=?#",
    "e/%25",
    "z'\"",
)


class Site:
    """A site whose one asset is a bucket, and the SDK for what drctl is not asked to do."""

    def __init__(self, bare: Any, server: S3Server, *, versioned: bool = False) -> None:
        self.bare, self.server, self.client = bare, server, server.client()
        self.bucket = server.new_bucket(locked=versioned)
        bare.variables |= {"THEIR_KEY": ACCESS_KEY, "THEIR_SECRET": SECRET_KEY}
        self.plan()
        bare.run("init")

    def plan(self, more: str = "", limit: str = "", endpoint: str = "") -> None:
        place = endpoint or self.server.endpoint
        words = {"bucket": self.bucket, "endpoint": place, "more": more, "limit": limit}
        self.bare.plan(PLAN.format(**words))

    def put(self, key: str, body: bytes, **words: Any) -> None:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **words)

    def backup(self, code: int = 0) -> Any:
        return self.bare.json("backup", code=code)

    def restore(self, to: str | Path, code: int = 0) -> Any:
        return self.bare.run("restore", "orders", "--to", to, code=code)

    def listed(self, bucket: str, prefix: str = "") -> dict[str, Any]:
        """Everything that an independent client sees of each object."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {
            found["Key"].removeprefix(prefix): self._seen(bucket, found["Key"])
            for page in pages
            for found in page.get("Contents", ())
        }

    def _seen(self, bucket: str, key: str) -> Any:
        got = self.client.get_object(Bucket=bucket, Key=key)
        tags = self.client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        words = ("ContentType", "CacheControl", "ContentEncoding", "Metadata")
        told = [got.get(word) for word in words]
        return got["Body"].read(), told, sorted((tag["Key"], tag["Value"]) for tag in tags)


class Counting(Proxy):
    """Tells how much it carried."""

    carried = 0

    def _pace(self, count: int) -> None:
        self.carried += count


@pytest.fixture
def counting(s3_server) -> Iterator[Counting]:
    made = Counting(s3_server.port)
    yield made
    made.close()


@pytest.fixture
def orders(bare, s3_server) -> Site:
    return Site(bare, s3_server)


def fill(site: Site) -> None:
    for key in ODD:
        site.put(key, f"content of {key}".encode() if not key.endswith("/") else b"")
    site.put("empty", b"", ContentType="text/x-empty", Metadata={"why": "nothing"})
    site.put(
        "rich",
        b"rich",
        ContentType="text/csv",
        CacheControl="max-age=60",
        Metadata={"owner": "ada", "state": "50% & more"},
        Tagging="class=gold&name=a%20b%2Bc",
    )
    site.put("large/one", os.urandom(21 << 20), ContentType="video/mp4", Metadata={"n": "1"})


def test_a_bucket_comes_back_in_another_bucket_as_it_was(orders) -> None:
    fill(orders)
    made = orders.backup()["snapshots"][0]
    assert made["facts"]["versioned"] == "no"
    assert made["entries"] == len(ODD) + 3
    other = orders.server.new_bucket()
    orders.restore(f"s3://{other}/back/here")
    before = orders.listed(orders.bucket)
    assert len(before) == len(ODD) + 3
    assert before["rich"][1:] == (
        ["text/csv", "max-age=60", None, {"owner": "ada", "state": "50% & more"}],
        [("class", "gold"), ("name", "a b+c")],
    )
    assert orders.listed(other, "back/here/") == before
    said = orders.restore(f"s3://{other}/back/here", code=9).stderr
    assert "is not empty: nothing was restored" in said
    assert orders.listed(other, "back/here/") == before


def test_a_bucket_comes_back_as_a_directory_with_its_attributes(orders) -> None:
    fill(orders)
    orders.backup()
    back = orders.bare.top / "back"
    orders.restore(back)
    found = {
        os.getxattr(path, "user.s3.key").decode(): (path.read_bytes(), path)
        for path in back.rglob("*")
        if path.is_file()
    }
    before = orders.listed(orders.bucket)
    assert {key: data for key, (data, _) in found.items()} == {k: v[0] for k, v in before.items()}
    assert found["50% off"][1] == back / "50%25 off"
    assert found["a/b/"][1] == back / "a" / "b" / "%"
    rich = found["rich"][1]
    assert os.getxattr(rich, "user.s3.content-type") == b"text/csv"
    head = orders.client.head_object(Bucket=orders.bucket, Key="rich")
    assert int(rich.stat().st_mtime) == int(head["LastModified"].timestamp())
    place = Settings(bucket=orders.bucket)
    with ENGINE.probe(place, str(back), around(orders.bare.top)).open() as standing:
        total = sum(len(data) for data, _ in found.values())
        assert standing.counts() == {"objects": len(before), "bytes": total}
        assert standing.health().ok


def test_what_did_not_change_is_not_read_again(orders, proxy) -> None:
    orders.plan(endpoint=proxy.endpoint)
    orders.put("large", os.urandom(4 << 20))
    orders.put("kept", b"kept")
    orders.put("changed", b"one")
    orders.backup()
    orders.put("changed", b"two")
    again = orders.backup()["snapshots"][0]
    assert (again["new"], again["changed"], again["unchanged"]) == (0, 1, 2)
    assert again["read_bytes"] == 3


def test_a_connection_that_breaks_off_is_made_again(orders, proxy) -> None:
    body = os.urandom(20 << 20)
    orders.put("large", body)
    orders.put("small", b"small")
    orders.plan(endpoint=proxy.endpoint)
    proxy.cut_after, proxy.most_cuts = 3 << 20, 3
    orders.backup()
    assert proxy.cuts == 3
    orders.restore(orders.bare.top / "back")
    assert (orders.bare.top / "back" / "large").read_bytes() == body


def test_what_changes_or_vanishes_while_it_is_read_is_told(orders, counting, stop_at_end) -> None:
    orders.put("a", os.urandom(40 << 20))
    orders.put("changed", b"before")
    orders.put("kept", b"kept")
    orders.put("vanished", b"gone")
    orders.plan(endpoint=counting.endpoint, limit="throttle: {read: 16MiB/s}")
    running = orders.bare.start("backup", "--json")
    stop_at_end.append(running)
    while counting.carried < 8 << 20:  # the listing came before
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGSTOP)  # however long the two take, it has not come to them
    orders.put("changed", b"AFTER!")
    orders.client.delete_object(Bucket=orders.bucket, Key="vanished")
    running.send_signal(signal.SIGCONT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 11, said
    assert "it was changed before it could be read whole" in said
    assert "it vanished before it could be read whole" in said
    orders.restore(orders.bare.top / "back", code=11)
    names = sorted(path.name for path in (orders.bare.top / "back").iterdir())
    assert names == ["a", "kept"]
    assert orders.backup()["snapshots"][0]["status"] == "complete"


def test_a_versioned_bucket_is_read_as_it_stood_at_one_instant(bare, s3_server) -> None:
    site = Site(bare, s3_server, versioned=True)
    site.put("kept", b"old")
    site.put("kept", b"new")
    site.put("later", b"first")
    site.put("vanishing", b"still")
    site.put("deleted", b"x")
    site.client.delete_object(Bucket=site.bucket, Key="deleted")
    with captured(site) as capture:
        site.put("later", b"second")
        site.put("kept", b"newest")
        site.put("added", b"too late")
        site.client.delete_object(Bucket=site.bucket, Key="vanishing")
        read = contents(capture)
        assert capture.facts == {"versioned": "yes"}
    assert read == {b"kept": b"new", b"later": b"first", b"vanishing": b"still"}
    site.backup()
    other = s3_server.new_bucket()
    site.restore(f"s3://{other}/")
    assert site.listed(other) == site.listed(site.bucket)
    assert sorted(site.listed(other)) == ["added", "kept", "later"]


def around(top: Path) -> Surroundings:
    (top / "scratch").mkdir(exist_ok=True)
    keys = {"env:THEIR_KEY": ACCESS_KEY, "env:THEIR_SECRET": SECRET_KEY}
    scratch = str(top / "scratch")
    return Surroundings(SystemClock(), Silent(), str(top), scratch, secret=keys.__getitem__)


@contextmanager
def captured(site: Site) -> Iterator[Capture]:
    held = {"access_key": "env:THEIR_KEY", "secret_key": "env:THEIR_SECRET"}
    place = {"bucket": site.bucket, "endpoint": site.server.endpoint, "credentials": held}
    settings = Settings.model_validate(place)
    with ENGINE.source(settings, "orders", around(site.bare.top)).open() as capture:
        yield capture


def contents(capture: Capture) -> dict[bytes, bytes]:
    return {item.path: item.content.load(item.entry())[1] for item in capture.items()
            if item.content}  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "says"),
    [("THEIR_KEY", "InvalidAccessKeyId"), ("THEIR_SECRET", "SignatureDoesNotMatch")],
)
def test_wrong_credentials_are_told_and_leave_no_snapshot(orders, variable, says) -> None:
    orders.put("a", b"a")
    orders.bare.variables[variable] = "wrong-and-secret"
    said = orders.bare.run("backup", code=4).stderr
    assert "orders: s3://" in said
    assert says in said
    assert "look at the plan's credentials" in said
    assert "wrong-and-secret" not in said
    assert orders.bare.snapshots() == []


def test_a_bucket_that_is_not_there_is_told(orders) -> None:
    orders.client.delete_bucket(Bucket=orders.bucket)
    said = orders.bare.run("backup", code=4).stderr
    assert "NoSuchBucket" in said
    assert "make the bucket, or mend its name in the plan" in said


def test_a_bucket_in_a_group_is_captured_with_the_others(orders) -> None:
    """A group's sources are opened in threads, and read in another."""
    orders.put("a", b"one")
    orders.put("a/b", b"two")
    text = (orders.bare.top / "plan.yaml").read_text().rstrip()
    other = "  said:\n    command: {run: [echo, said]}\n    schedule: hourly"
    orders.bare.plan(f"{text}\n{other}\ngroups:\n  both: {{assets: [said, orders]}}\n")
    made = orders.backup()["snapshots"]
    assert [s["asset"] for s in made] == ["said", "orders"]
    orders.bare.run("restore", "both", "--to", orders.bare.top / "back")
    assert (orders.bare.top / "back/orders/a%").read_bytes() == b"one"


def test_patterns_leave_out_what_they_name_and_all_below(orders) -> None:
    for key in ("keep/a", "tmp/x", "tmp/deep/y", "keep/b.tmp", "logs/1.gz"):
        orders.put(key, b"x")
    orders.plan(more='exclude: ["tmp/", "*.tmp", "/logs/*.gz"]')
    assert orders.backup()["snapshots"][0]["entries"] == 1


def test_every_key_has_a_path_of_its_own_and_they_come_in_order(tmp_path) -> None:
    keys = ["a", "a/b", "a/b/c", "a!", "a-", "a%", "a/", "a//b", "/a", "/", "./x", "..", "a/../b",
            "%", "%25", "a\x01b", "ä", "", "a/%", "%2E"]  # fmt: skip
    with ordered(str(tmp_path)) as order:
        for key in keys:
            order.add(path_of(key), Listed(key, '"e"', 1, 0))
        order.settle()
        found = list(order.read())
    assert (order.objects, order.size_bytes) == (len(keys), len(keys))
    paths = [path for path, _ in found]
    assert {listed.key for _, listed in found} == set(keys)
    assert [sort_key(path) for path in paths] == sorted({sort_key(path) for path in paths})
    for path in paths:
        parts = path.split(b"/")
        assert not {b"", b".", b".."} & set(parts)
        assert not any(other.startswith(path + b"/") for other in paths)
    assert list(tmp_path.iterdir()) == []
    assert {listed.key: path for path, listed in found}["a"] == b"a%"


def test_what_is_deleted_is_deleted_unless_it_came_back(tmp_path) -> None:
    old = Listed("k", "old", 1, 5, "1", is_latest=False)
    gone = Listed("k", "", 0, 7, "2", is_latest=False, is_there=False)
    new = Listed("k", "new", 2, 7, "3", is_latest=False)
    for several, left in (([old, gone], []), ([gone, old], []), ([new, gone, old], ["new"]),
                          ([new, replace(gone, is_latest=True)], [])):  # fmt: skip
        with ordered(str(tmp_path)) as order:
            for found in several:
                order.add(b"k", found)
            order.settle()
            assert [listed.etag for _, listed in order.read()] == left
