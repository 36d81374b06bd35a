"""What a plan says of recovery: the steps, what must hold afterwards, and how it is tried out."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model

from drctl.engines.values import FilledPath, Flag, PlanPath, SecretRef
from drctl.plan.values import Attempts, Duration, Instant, Name, Number, Part
from drctl.private import variables

ModeName = Literal["drill", "failover", "planned", "failback"]
Words = Annotated[tuple[str, ...], Field(min_length=1)]
STEP_KINDS = ("restore", "run", "check", "approval", "wait", "notify")
LOOKS = ("sql", "http", "command", "integrity", "compare")


def _expected(value: object) -> object:
    """One value alone is what is to be there."""
    return {"equals": value} if isinstance(value, str) else value


class Expected(Part):
    """What a check must find, all of what is said. A value alone means `equals`."""

    equals: str | None = Field(default=None, description="Exactly this text.")
    min: Number | None = Field(default=None, description="A number, and at least this.")
    max: Number | None = Field(default=None, description="A number, and at most this.")
    contains: str | None = Field(default=None, description="This text, somewhere in it.")


class Check(Part):
    """One look at what came back."""

    asset: Name | None = Field(default=None, description="The asset that is looked at.")
    sql: str | None = Field(
        default=None, min_length=1, description="A query; its first value is compared."
    )
    http: str | None = Field(
        default=None, pattern=r"^https?://\S+$", description="An address; its status is compared."
    )
    command: Words | None = Field(
        default=None, description="Program and arguments; exit status 0 is right."
    )
    integrity: Literal["full"] | None = Field(
        default=None, description="The engine's own checks of wholeness."
    )
    compare: Literal["manifest", "counts"] | None = Field(
        default=None, description="With what the snapshot says of itself."
    )
    expect: Annotated[Expected | None, BeforeValidator(_expected)] = Field(
        default=None, description="What must be found."
    )


class StepPart(Part):
    """One step of a recovery: exactly one of restore, run, check, approval, wait, notify."""

    restore: Name | None = Field(default=None, description="The asset that is put back.")
    to: FilledPath | None = Field(
        default=None, min_length=1, description="Where it is put; else where it was."
    )
    existing: Literal["refuse", "set_aside"] = Field(
        default="refuse", description="What becomes of what stands there already."
    )
    run: Words | None = Field(default=None, description="Program and arguments; no shell.")
    check: Check | None = Field(default=None, description="What must hold by now.")
    approval: str | None = Field(
        default=None, min_length=1, description="Who must say yes: a role, for people to read."
    )
    wait: Duration | None = Field(default=None, description="How long nothing is done.")
    notify: str | None = Field(default=None, min_length=1, description="What people are told.")
    after: tuple[Name, ...] = Field(default=(), description="Steps that must be over before.")
    when: tuple[ModeName, ...] = Field(
        default=(), description="The modes it belongs to; left out: all of them."
    )
    timeout: Duration | None = Field(default=None, description="How long it may take.")
    retries: Attempts | None = Field(default=None, description="How often it is tried again.")
    on_failure: Literal["stop", "continue", "undo"] = Field(
        default="stop", description="What a failure means for the others."
    )
    undo: Words | None = Field(default=None, description="Program that takes it back.")
    env: Annotated[tuple[str, ...], AfterValidator(variables)] = Field(
        default=(), description="Variables that its program also gets."
    )


class Defaults(Part):
    """What holds for steps that do not say it."""

    timeout: Duration = Field(default="1h", description="How long a step may take.")
    retries: Attempts = Field(default=0, description="How often a step is tried again.")


class Recovery(Part):
    """How what is lost comes back. Without steps every asset is restored, all at once."""

    defaults: Defaults = Field(default=Defaults(), description="For steps that do not say it.")
    parameters: dict[Name, str] = Field(
        default={}, description="Values for ${name} in programs, addresses and messages."
    )
    steps: dict[Name, StepPart] = Field(default={}, description="The steps by name.")


def _pick(value: object) -> object:
    return {} if value == "newest" else value


class Pick(Part):
    """Which point is restored: `newest`, or one of these."""

    random_within: Duration | None = Field(
        default=None, description="A random instant of the last so much time."
    )
    at: Instant | None = Field(default=None, description="The newest that is not after this time.")


class DrillObjectives(Part):
    """What a drill is judged by where it is not the plan's own."""

    rpo: Duration | None = Field(default=None, description="Tolerated loss of data.")
    rto: Duration | None = Field(default=None, description="Tolerated outage.")


class DrillPart(Part):
    """What a drill has beside `from`, which is a word of Python's own."""

    pick: Annotated[Pick, BeforeValidator(_pick)] = Field(
        default=Pick(), description="Which point is restored: newest, random_within or at."
    )
    deny_sites: tuple[Name, ...] = Field(
        default=(), description="Sites that must be proven out of reach."
    )
    objectives: DrillObjectives = Field(
        default=DrillObjectives(), description="Where they are not the plan's."
    )
    steps: ModeName = Field(default="drill", description="The mode whose steps are drilled.")
    undo: Flag = Field(default=False, description="Take back what was done, last of all.")
    directory: PlanPath | None = Field(
        default=None, min_length=1, description="Where there is room for what is restored."
    )

    @property
    def source(self) -> str | None:
        """The repository that is restored from."""
        found: str | None = getattr(self, "from")
        return found


_FROM: dict[str, Any] = {
    "from": (Name | None, Field(default=None, description="The repository that is restored from."))
}
Drill = create_model("Drill", __base__=DrillPart, __doc__="A recovery to be tried.", **_FROM)


class Evidence(Part):
    """What a drill leaves for those who were not there."""

    key: SecretRef | None = Field(
        default=None, description="The Ed25519 private key that signs it, in PEM."
    )
    former: tuple[PlanPath, ...] = Field(
        default=(), description="Files of public keys, in PEM, of what signed before it."
    )
    directory: PlanPath | None = Field(
        default=None, min_length=1, description="Where it is kept here; else beside the state."
    )
