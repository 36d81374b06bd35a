"""The plan, validated. What each key means stands with it; docs/plan.md shows the same."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from drctl.engines import KINDS
from drctl.engines.s3bucket_place import S3Place
from drctl.engines.values import PlanPath, SecretRef
from drctl.plan.recovery import Check, Drill, Evidence, Recovery
from drctl.plan.settings import Settings
from drctl.plan.telling import Metrics, Notify
from drctl.plan.values import Count, Duration, HostName, Level, Name, Part, Rate, ScheduleText


class Objectives(Part):
    """What the business can bear. An asset may say its own."""

    rpo: Duration | None = Field(default=None, description="Tolerated loss of data, such as 15m.")
    rto: Duration | None = Field(default=None, description="Tolerated outage, such as 30m.")
    drill_every: Duration | None = Field(default=None, description="How often to drill recovery.")


class Site(Part):
    """A place that fails as one."""

    failure_domain: str = Field(min_length=1, description="What fails together: a rack, a city.")


class Keep(Part):
    """Which snapshots stay: the newest of each period."""

    last: Count | None = Field(default=None, description="The newest so many, whatever their age.")
    hourly: Count | None = Field(default=None, description="One for each of so many hours.")
    daily: Count | None = Field(default=None, description="One for each of so many days.")
    weekly: Count | None = Field(default=None, description="One for each of so many weeks.")
    monthly: Count | None = Field(default=None, description="One for each of so many months.")
    yearly: Count | None = Field(default=None, description="One for each of so many years.")
    within: Duration | None = Field(
        default=None, description="All that are at most so much older than the newest."
    )
    tags: tuple[str, ...] = Field(default=(), description="All that carry one of these words.")
    grace: Duration = Field(default="3d", description="How long what was removed can be had back.")


def _lock_model() -> type[Part]:
    """Made so, since one of its keys is a word of Python's."""
    period = Field(description="How long each snapshot stays whole, such as 35d.")
    fields: dict[str, Any] = {
        "mode": (
            Literal["compliance", "governance"],
            Field(description="compliance yields to nobody, governance to a special right."),
        ),
        "for": (Duration, period),
    }
    text = "Object lock of an S3 bucket: what is written cannot be destroyed for a time."
    return create_model("Lock", __base__=Part, __doc__=text, **fields)


LockPart = _lock_model()


class Limits(Part):
    """What a repository's storage, and the link to it, are spared."""

    write: Rate | None = Field(default=None, description="Write no faster, such as 20MiB/s.")
    read: Rate | None = Field(default=None, description="Copy from it no faster.")


class ReadLimit(Part):
    """What the production that an asset is read from is spared."""

    read: Rate = Field(description="Read no faster, such as 50MiB/s.")


class RepositoryPart(Part):
    """Where snapshots are stored: `path` or `s3`."""

    site: str = Field(description="The site that it stands at.")
    path: PlanPath | None = Field(default=None, min_length=1, description="A directory.")
    s3: S3Place | None = Field(default=None, description="An S3 bucket.")
    copy_of: str | None = Field(
        default=None, description="The repository that this one is a copy of."
    )
    keep: Keep | None = Field(default=None, description="Which snapshots stay.")
    lock: LockPart | None = Field(  # type: ignore[valid-type]
        default=None, description="Object lock, of an S3 bucket."
    )
    throttle: Limits | None = Field(
        default=None, description="Limits on writing to it and on copying from it."
    )


class Keys(Part):
    """Where the keys lie."""

    credential: SecretRef = Field(
        default="file:keys/writer.key", description="The host's writer credential."
    )
    identity: SecretRef | None = Field(
        default=None,
        description="The identity file. Left out: identity.key beside the credential.",
    )


class AssetPart(Part):
    """What an asset has beside its engine's settings."""

    schedule: ScheduleText | None = Field(default=None, description="When it is backed up.")
    rpo: Duration | None = Field(default=None, description="Its own objective for loss of data.")
    rto: Duration | None = Field(default=None, description="Its own objective for the outage.")
    compression: Level = Field(
        default=3, description="Level of zstd: -7 (fastest) to 19 (smallest)."
    )
    tags: tuple[str, ...] = Field(default=(), description="Words that its snapshots carry.")
    throttle: ReadLimit | None = Field(default=None, description="A limit on reading it.")


def _asset_model() -> type[AssetPart]:
    """One optional key an engine; that exactly one is there is checked with its position."""
    fields: dict[str, Any] = {
        kind: (
            Annotated[Any, Settings(kind)] | None,
            Field(default=None, description=f"Engine: {kind}."),
        )
        for kind in KINDS
    }
    return create_model("Asset", __base__=AssetPart, __doc__="One thing to protect.", **fields)


Asset = _asset_model()


class Group(Part):
    """Assets that are captured together, as one recovery point."""

    assets: tuple[Name, ...] = Field(min_length=1, description="The assets, by name.")
    max_skew: Duration | None = Field(
        default=None, description="How far their instants may lie apart, such as 5s."
    )


class Plan(Part):
    """One disaster-recovery plan."""

    version: Literal["1"] = Field(description="Version of the plan's form: 1.")
    name: Name = Field(description="Name of the plan.")
    owner: str = Field(default="", description="Who answers for it.")
    host: HostName | None = Field(
        default=None, description="What this machine is called in snapshots; else its host name."
    )
    objectives: Objectives = Field(default=Objectives(), description="Objectives of the plan.")
    sites: dict[Name, Site] = Field(default={}, description="Sites by name.")
    repositories: dict[Name, RepositoryPart] = Field(
        min_length=1, description="Repositories by name; the first that is no copy is written to."
    )
    keys: Keys = Field(default=Keys(), description="Where the keys lie.")
    assets: dict[Name, Asset] = Field(  # type: ignore[valid-type]
        min_length=1, description="What is protected, by name."
    )
    checks: tuple[Check, ...] = Field(default=(), description="What must hold of what came back.")
    recovery: Recovery = Field(default=Recovery(), description="How what is lost comes back.")
    drills: dict[Name, Drill] = Field(default={}, description="Recoveries to be tried, by name.")
    evidence: Evidence = Field(default=Evidence(), description="What drills leave behind.")
    groups: dict[Name, Group] = Field(
        default={}, description="Assets that are captured together, by the group's name."
    )
    notify: Notify | None = Field(default=None, description="Whom runs tell how they ended.")
    metrics: Metrics | None = Field(default=None, description="Where runs leave numbers.")


def engine_of(asset: BaseModel) -> tuple[str, BaseModel]:
    """An asset's engine and its settings."""
    for kind in KINDS:
        settings = getattr(asset, kind)
        if settings is not None:
            return kind, settings
    raise ValueError("an asset without an engine")
