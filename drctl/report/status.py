"""How things stand, for people: a table to be read at a glance, then what is to be done."""

from collections.abc import Sequence
from textwrap import wrap

from drctl.report.results import table
from drctl.units import count, show_bytes, show_seconds

_MOST_NAME = 17  # letters of a name, so that a line stays within 80 columns
Todo = tuple[str, str]  # what is the matter, and the command that helps


def standing_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of verdict, asset, repository, age, objective and remark."""
    shown = [(v, _cut(a), _cut(r), age, rpo, remark) for v, a, r, age, rpo, remark in rows]
    head = ("rpo", "asset", "repository", "age", "allowed", "")
    return table(head, shown, right=(3, 4))


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def show_age(seconds: float | None) -> str:
    """A point a little in the future is a clock's doing."""
    return "-" if seconds is None else show_seconds(max(seconds, 0.0))


def lag_line(copy: str, seconds: float | None, objects: int | None, size_bytes: int | None) -> str:
    """How far one copy is behind."""
    if objects is None or size_bytes is None:
        return f"copy {copy}: cannot be compared"
    if not objects:
        return f"copy {copy}: up to date"
    late = "lacks an asset" if seconds is None else f"{show_seconds(seconds)} behind"
    left = count(objects, "object", "objects")
    return f"copy {copy}: {late}, {left} to copy, {show_bytes(size_bytes)}"


def drill_line(name: str, readiness: str, age_seconds: float | None) -> str:
    """When a drill was, and how it ended."""
    ago = "" if age_seconds is None else f", {show_age(age_seconds)} ago"
    return f"drill {name}: {readiness}{ago}"


def todo_lines(todos: Sequence[Todo]) -> list[str]:
    """What is to be done, each thing once, with its command."""
    if not todos:
        return ["all is well"]
    lines = ["to do:"]
    for what, command in dict.fromkeys(todos):
        lines += [*wrap(what, 80, initial_indent="  - ", subsequent_indent="    ")]
        lines.append(f"      {command}")
    return lines
