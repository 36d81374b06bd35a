"""The plan as a JSON Schema, for editors."""

from typing import Any

from drctl.plan.model import Plan

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NULL = {"type": "null"}


def schema() -> dict[str, Any]:
    """A new dictionary each time. An editor sees `version: 1` as a number; both are allowed."""
    made: dict[str, Any] = _without_null(Plan.model_json_schema())
    made["properties"]["version"] = {"enum": [1, "1"], "description": "Version of the form: 1."}
    return {"$schema": DIALECT, **made, "title": "drctl plan"}


def _without_null(part: Any) -> Any:
    """A key may be left out, but one that is there has a value."""
    if isinstance(part, list):
        return [_without_null(item) for item in part if item != _NULL]
    if not isinstance(part, dict):
        return part
    kept = {k: _without_null(v) for k, v in part.items() if not (k == "default" and v is None)}
    choices = kept.get("anyOf", [])
    return {**choices[0], **_except(kept, "anyOf")} if len(choices) == 1 else kept


def _except(part: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in part.items() if k != key}
