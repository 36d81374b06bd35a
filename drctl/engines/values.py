"""The kinds of values that engines have settings of, each with the words of its refusal."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from drctl.units import DURATION_PATTERN, parse_duration


def _flag(value: object) -> object:
    """Only these two words; a plan's `yes` or `on` may have been meant as text."""
    words: dict[object, bool] = {"true": True, "false": False, True: True, False: False}
    if not isinstance(value, str | bool) or value not in words:
        raise ValueError(f"true or false is wanted, not '{value}'")
    return words[value]


def _port(value: object) -> object:
    if isinstance(value, str) and not value.isdigit():
        raise ValueError(f"a port is a number, not '{value}'")
    return value


def _host(text: str) -> str:
    if not text.startswith("/"):
        try:
            text.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"'{text[:60]}' is no name of a server, and no address") from error
    return text


def _period(text: str) -> str:
    if parse_duration(text) <= 0:
        raise ValueError(f"'{text}': longer than nothing is wanted")
    return text


def _place(path: str) -> str:
    if path.startswith(("~", "$")):
        raise ValueError(
            f"'{path[:60]}': ~ and variables mean nothing here: write the whole path, or one from "
            "the plan's directory on"
        )
    return path


def _filled(path: str) -> str:
    return path if path.startswith("${") else _place(path)


Flag = Annotated[bool, BeforeValidator(_flag)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_port)]
Host = Annotated[str, AfterValidator(_host)]  # or the path of a socket
Period = Annotated[
    str,
    AfterValidator(_period),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]

# A path that a plan says. An editor is shown the same rule.
PlanPath = Annotated[
    str, AfterValidator(_place), WithJsonSchema({"type": "string", "pattern": "^[^~$]"})
]

# One that parameters are put into.
FilledPath = Annotated[
    str,
    AfterValidator(_filled),
    WithJsonSchema({"type": "string", "pattern": r"^([^~$]|\$\{)"}),
]

REFERENCE_PATTERN = (
    r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|command:\s*\S.*|credential:[^/\n]*[^/\n.][^/\n]*)$"
)


def check_reference(text: str) -> str:
    """The text itself. Raises ValueError that does not repeat it: it may be the secret."""
    if not re.fullmatch(REFERENCE_PATTERN, text):
        raise ValueError(
            "a secret must not stand in the plan: write where it lies, as env:NAME, file:PATH, "
            "command:PROGRAM ARGUMENT... or credential:NAME"
        )
    return text


# What a plan says of a secret: where it lies. `Surroundings.secret` gives the secret itself.
SecretRef = Annotated[
    str,
    AfterValidator(check_reference),
    WithJsonSchema({"type": "string", "pattern": REFERENCE_PATTERN}),
]
