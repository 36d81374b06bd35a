"""A network that fails before a real S3 server: runs complete all the same, or say why not."""

import os
from pathlib import Path

import pytest
from bad_network import BadNetwork
from servers import ACCESS_KEY, SECRET_KEY
from small_site import Site, Waiting, random_tree, write_tree

from drctl.errors import StorageFault
from drctl.repository import lifecycle
from drctl.storage.retry import Retry
from drctl.storage.s3 import S3, Credentials


def through(network: BadNetwork, bucket: str, timeout_seconds: float) -> S3:
    return S3(
        bucket,
        endpoint=network.endpoint,
        region="us-east-1",
        credentials=Credentials(ACCESS_KEY, SECRET_KEY),
        timeout_seconds=timeout_seconds,
    )


@pytest.mark.parametrize("kinds", [("busy", "reset", "cut", "portal"), ("answer lost", "hangs")])
def test_what_passes_is_tried_again_until_it_works(s3_server, tmp_path: Path, pool, kinds) -> None:
    """Every third request is spoilt."""
    site, bucket = Site(tmp_path, pool), s3_server.new_bucket()
    network = BadNetwork(s3_server.port, 0.35, kinds, seed=7)
    bad = Retry(through(network, bucket, 0.5), Waiting(), attempts=25)
    tree = random_tree(1, 5, 40_000, large_bytes=600_000)
    write_tree(site.live, tree)
    try:
        lifecycle.create(bad, site.credential, os.urandom)
        made = site.backup(bad)
        assert site.verified(s3_server.storage(bucket)) == []
        assert site.restored(bad, made.name) == tree
    finally:
        network.close()
    assert all(network.spoilt[kind] for kind in kinds)


def test_what_never_passes_ends_in_words(s3_server, tmp_path: Path, pool) -> None:
    bucket = s3_server.new_bucket()
    site = Site(tmp_path, pool)
    lifecycle.create(s3_server.storage(bucket), site.credential, os.urandom)
    write_tree(site.live, random_tree(1, 3, 900))
    for kind, says in {
        "busy": "SlowDown",
        "reset": "is the storage up",
        "portal": "is no S3 storage",
    }.items():
        network = BadNetwork(s3_server.port, 1.0, (kind,))
        with pytest.raises(StorageFault) as caught:
            site.backup(Retry(through(network, bucket, 60), Waiting(), attempts=3))
        assert says in caught.value.what + caught.value.hint
        assert bucket in caught.value.what
        network.close()
    site.backup(s3_server.storage(bucket))
