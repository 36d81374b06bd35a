"""What a plan says of who is told how runs end: people, and whatever collects metrics."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from drctl.engines.values import PlanPath, SecretRef
from drctl.plan.recovery import Words
from drctl.plan.values import Duration, Part

EventName = Literal["failure", "objective_missed", "recovered", "success"]


def _recipient(value: object) -> object:
    """A reference alone is that of a webhook's address."""
    return {"webhook": value} if isinstance(value, str) else value


class Recipient(Part):
    """Who is told: exactly one of webhook and run. A reference alone means `webhook`."""

    webhook: SecretRef | None = Field(
        default=None, description="The address that a JSON document is sent to by POST."
    )
    run: Words | None = Field(
        default=None, description="Program and arguments; the document is its standard input."
    )


Told = Annotated[Recipient, BeforeValidator(_recipient, json_schema_input_type=str | Recipient)]


class Notify(Part):
    """Whom runs tell how they ended."""

    to: tuple[Told, ...] = Field(min_length=1, description="Who is told, all of them at once.")
    on: tuple[EventName, ...] = Field(
        default=("failure", "objective_missed", "recovered"), description="What is told."
    )
    again: Duration = Field(default="4h", description="When what did not change is told once more.")
    timeout: Duration = Field(default="10s", description="How long telling may take.")


class Metrics(Part):
    """Where numbers about runs are left for a collector."""

    textfile: PlanPath = Field(
        pattern=r"\.prom$", description="The file for node_exporter's textfile collector."
    )
