"""`${name}` in what a plan runs, asks or says. A shell's `$name` and `${NAME}` stay as they are."""

import re
from collections.abc import Iterator, Mapping

_PARAMETER = re.compile(r"\$\{([a-z][a-z0-9_-]*)\}")


def parameters_in(text: str) -> Iterator[str]:
    """The names, as often as they stand there."""
    for found in _PARAMETER.finditer(text):
        yield found[1]


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with the values. Names without one stay."""
    return _PARAMETER.sub(lambda found: values.get(found[1], found[0]), text)
