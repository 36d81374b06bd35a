"""Where a bucket is and who may use it: what a plan says of one, as an asset or a repository."""

import re
from typing import Annotated

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
