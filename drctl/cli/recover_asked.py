"""What a person asks of `recover`: one thing at a time, and nothing that it would not look at."""

import click
from click.core import ParameterSource

from drctl.errors import UsageError

_DOINGS = ("resume", "anew", "watch", "approve", "refuse", "cancel")
# What is decided when a recovery begins, and for ever.
_DECIDING = ("mode", "at", "even_suspect", "to", "sets", "repository")


def refuse_what_says_nothing(ctx: click.Context) -> None:
    """Who resumes with another place or time believes that it is done so. Raises UsageError."""
    given = {
        parameter.name: parameter.opts[0]
        for parameter in ctx.command.params
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    }
    doings = [given[name] for name in _DOINGS if name in given]
    if len(doings) > 1:
        raise UsageError(f"either {doings[0]} or {doings[1]}", hint="one after the other")
    deciding = [given[name] for name in _DECIDING if name in given]
    if deciding and doings and doings != ["--anew"]:
        raise UsageError(
            f"{deciding[0]} says nothing to {doings[0]}: that was decided when the recovery began",
            hint=f"leave {deciding[0]} out, or begin another with --anew",
        )
