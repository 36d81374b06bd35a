"""Where a bucket is and who may use it: what a plan says of one, as an asset or a repository."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from drctl.engines.values import SecretRef


def _endpoint(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^/\s]+/?", text):
        raise ValueError(f"'{text}' is not an address such as https://s3.example.com")
    return text


Endpoint = Annotated[
    str,
    AfterValidator(_endpoint),
    WithJsonSchema({"type": "string", "pattern": r"^(https?://[^/\s]+/?)?$"}),
]


class S3Credentials(BaseModel):
    """A profile of the SDK's files, or references to keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str | None = Field(default=None, description="Name of a profile.")
    access_key: SecretRef | None = Field(default=None, description="Reference to the key's id.")
    secret_key: SecretRef | None = Field(default=None, description="Reference to the secret key.")
    session_token: SecretRef | None = Field(default=None, description="Reference to a token.")


class S3Place(BaseModel):
    """A bucket, or a prefix in one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bucket: str = Field(min_length=3, description="Name of the bucket.")
    prefix: str = Field(default="", description="Where in the bucket; empty: at its top.")
    endpoint: Endpoint = Field(default="", description="Address, where it is not Amazon's.")
    region: str = Field(default="", description="Region of the bucket.")
    credentials: S3Credentials = Field(
        default=S3Credentials(), description="Left out: the SDK's usual search."
    )


_AMAZON = "s3.amazonaws.com"


def server_of(place: S3Place) -> tuple[str, int]:
    """Host and port at which a bucket is asked for."""
    url = urlsplit(place.endpoint or f"https://{_AMAZON}")
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def is_server_of(place: S3Place, host: str, port: int) -> bool:
    """Whether the SDK may ask there for this bucket. Amazon's servers are called by bucket and
    region as well, and send to each other."""
    host = host.lower()
    if place.endpoint:
        return (host, port) == server_of(place)
    own = rf"({re.escape(place.bucket)}\.)?s3([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?"
    return port == server_of(place)[1] and re.fullmatch(own, host) is not None
