"""The model's complaints in plain words, at their place in the file."""

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drctl.plan.settings import inner
from drctl.plan.tree import Path, Problem, Tree, dotted

_MEANT = {
    "string_type": "text is wanted",
    "int_type": "a whole number is wanted",
    "int_parsing": "a whole number is wanted",
    "int_parsing_size": "a whole number is wanted",
    "bool_type": "true or false is wanted",
    "bool_parsing": "true or false is wanted",
    "list_type": "a list is wanted",
    "tuple_type": "a list is wanted",
    "dict_type": "a mapping of keys is wanted",
    "model_type": "a mapping of keys is wanted",
    "model_attributes_type": "a mapping of keys is wanted",
}


def tell(error: ValidationError, tree: Tree, model: type[BaseModel], skip: list[Path]) -> None:
    """Add every complaint to the tree, but for what stands at or below a path in `skip`."""
    complaints = [(_path(found), found) for found in error.errors(include_url=False)]
    for path, found in complaints:
        # A list whose one item was refused counts as empty: that is told already.
        is_echo = found["type"] == "too_short" and any(
            path == other[: len(path)] != other for other, _ in complaints
        )
        if not is_echo and not any(path[: len(s)] == s for s in skip):
            _tell_one(found, path, tree, model)


def _path(found: ErrorDetails) -> Path:
    """The complaint's place, without the model's own marks such as `[key]`."""
    path = tuple(found["loc"])
    return path[:-1] if path and path[-1] == "[key]" else path


def _tell_one(found: ErrorDetails, path: Path, tree: Tree, model: type[BaseModel]) -> None:
    kind = found["type"]
    if kind == "extra_forbidden":
        known = allowed(model, path[:-1])
        near = get_close_matches(str(path[-1]), known, 1, 0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(known)}"
        line, column = tree.position(path)
        text = f"unknown key '{path[-1]}'; {hint}"
        tree.problems.append(Problem(line, column, dotted(path[:-1]), text))
    elif kind == "missing":
        tree.add(path[:-1], f"'{path[-1]}' is missing")
    else:
        tree.add(path, _words(found), at_value=_is_value(found))


def _is_value(found: ErrorDetails) -> bool:
    return "[key]" not in found["loc"]


def _words(found: ErrorDetails) -> str:
    kind, context = found["type"], found.get("ctx", {})
    written = found["input"]
    if kind == "value_error":
        return str(context["error"])
    if kind in _MEANT:
        return f"{_MEANT[kind]}, not {_shown(written)}"
    return _limits(kind, context, written)


def _limits(kind: str, context: dict[str, Any], written: object) -> str:
    if kind in {"too_short", "string_too_short"}:
        return "it must not be empty" if not written else "it is too short"
    if kind in {"greater_than_equal", "less_than_equal"}:
        word = "at least" if kind.startswith("greater") else "at most"
        return f"{_shown(written)}: {word} {next(iter(context.values()))} is wanted"
    if kind == "literal_error":
        return f"{context['expected']} is wanted, not {_shown(written)}"
    if kind == "string_pattern_mismatch":
        return f"{_shown(written)} is not of the form that is wanted here"
    return f"{kind.replace('_', ' ')}: {_shown(written)}"


def _shown(written: object) -> str:
    if isinstance(written, dict):
        return "a mapping"
    if isinstance(written, list):
        return "a list"
    return f"'{str(written)[:60]}'"


def allowed(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that may stand at a path of the plan."""
    here: Any = model
    for part in path:
        here = _step(here, part)
    return list(here.model_fields) if _is_model(here) else []


def _step(here: Any, part: str | int) -> Any:
    if _is_model(here):
        found = here.model_fields.get(part)
        return inner(found.annotation) if found else None
    parts = [found for found in get_args(here) if found is not Ellipsis]
    return inner(parts[-1]) if parts else None


def _is_model(here: Any) -> bool:
    return isinstance(here, type) and issubclass(here, BaseModel)
