"""A client that is made quickly is the same client."""

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import UnknownServiceError

from drctl.storage import s3_sdk

ENDPOINT = "http://127.0.0.1:9"


def test_it_knows_what_the_sdks_own_client_knows() -> None:
    own = boto3.Session("key", "secret", region_name="us-east-1").client(
        "s3", endpoint_url=ENDPOINT
    )
    made = s3_sdk.client(
        keys=("key", "secret", ""),
        profile="",
        region="us-east-1",
        endpoint=ENDPOINT,
        config=Config(),
    )
    for part in ("operation_names", "shape_names", "metadata"):
        ours = getattr(made.meta.service_model, part)
        assert ours == getattr(own.meta.service_model, part)
    assert made.meta.endpoint_url == own.meta.endpoint_url
    assert made.can_paginate("list_object_versions")


def test_every_service_that_it_names_is_there_and_others_are_told() -> None:
    loader = s3_sdk._loader()
    for service in loader.list_available_services("service-2"):
        assert loader.load_service_model(service, "service-2")["operations"]
    with pytest.raises(UnknownServiceError):
        loader.load_service_model("ec2", "service-2")
