"""The kinds of values that a plan is made of, each with the words of its refusal."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from drctl.plan.schedule import LONGEST_SECONDS, SCHEDULE_PATTERN, parse_schedule
from drctl.units import DURATION_PATTERN, RATE_PATTERN, parse_duration, parse_instant, parse_rate

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


def _duration(text: str) -> str:
    if not 0 < parse_duration(text) <= LONGEST_SECONDS:
        raise ValueError(f"'{text[:60]}': longer than nothing is wanted, and at most 36500d")
    return text


def _rate(text: str) -> str:
    parse_rate(text)
    return text


def _schedule(text: str) -> str:
    return parse_schedule(text).text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"'{text}': a name is a-z, 0-9, - and _, beginning with a letter")
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(f"'{text[:60]}': a host's name is letters, digits, '.', '-' and '_'")
    return text


def _whole(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"-?(0|[1-9][0-9]*)", value):
        raise ValueError(f"a whole number is wanted, not '{value}'")
    return value


def _number(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]{1,18})?", value):
        raise ValueError(f"a number is wanted, not '{value[:60]}'")
    return value


def _instant(text: str) -> str:
    parse_instant(text, 0)
    return text


def _form(pattern: str) -> WithJsonSchema:
    """What an editor checks; the words of the loader's complaint are the validator's."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


Duration = Annotated[str, AfterValidator(_duration), _form(DURATION_PATTERN)]
Rate = Annotated[str, AfterValidator(_rate), _form(RATE_PATTERN)]
ScheduleText = Annotated[str, AfterValidator(_schedule), _form(SCHEDULE_PATTERN)]
Name = Annotated[str, AfterValidator(_name)]
HostName = Annotated[str, AfterValidator(_host)]
# The validator stands last, so that it is asked first and the bounds reach the schema.
Count = Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)]
Attempts = Annotated[int, Field(ge=0, le=100), BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
Instant = Annotated[str, AfterValidator(_instant)]
Level = Annotated[int, Field(ge=-7, le=19), BeforeValidator(_whole)]


class Part(BaseModel):
    """A mapping of the plan: frozen, and without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")
