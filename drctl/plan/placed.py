"""A repository that is named by its place, as `--from` takes it: with an identity, no plan is
needed to read it."""

import os
from hashlib import sha256

from msgspec.structs import replace
from pydantic import ValidationError

from drctl.engines.s3bucket_place import S3Place
from drctl.errors import UsageError
from drctl.plan import LoadedPlan
from drctl.plan.model import Plan, RepositoryPart

GIVEN = "given"
_S3 = "s3://"
_SITE = "unknown"


def is_place(text: str) -> bool:
    """Names of repositories have no slash in them."""
    return "/" in text or text in (".", "..")


def placed(plan: LoadedPlan, place: str) -> LoadedPlan:
    """The plan with this repository as its last. Relative paths start where the caller is."""
    repositories = {**plan.plan.repositories, GIVEN: _part(place)}
    return replace(plan, plan=plan.plan.model_copy(update={"repositories": repositories}))


def planless(place: str) -> LoadedPlan:
    """What stands in for the plan where there is none: it protects nothing, and names no key."""
    here = os.getcwd()
    path = f"(no plan: {place})"
    plan = Plan.model_construct(
        version="1", name="none", repositories={GIVEN: _part(place)}, assets={}
    )
    return LoadedPlan(plan, path, here, sha256(path.encode()).hexdigest(), ())


def _part(place: str) -> RepositoryPart:
    if not place.startswith(_S3):
        return RepositoryPart(site=_SITE, path=os.path.abspath(os.path.expanduser(place)))
    bucket, _, prefix = place.removeprefix(_S3).partition("/")
    try:
        found = S3Place(
            bucket=bucket,
            prefix=prefix.strip("/"),
            endpoint=_variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
            region=_variable("AWS_REGION", "AWS_DEFAULT_REGION"),
        )
        return RepositoryPart(site=_SITE, s3=found)
    except ValidationError as error:
        raise UsageError(
            f"'{place}' names no bucket, or AWS_ENDPOINT_URL is no address",
            hint="s3://BUCKET/PREFIX, and an address such as https://s3.example.com",
        ) from error


def _variable(*names: str) -> str:
    return next((found for name in names if (found := os.environ.get(name))), "")
