"""The plan as a JSON Schema, for editors."""

from typing import Any

from drctl.plan.model import Plan

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """A new dictionary each time. An editor sees `version: 1` as a number; both are allowed."""
    made = Plan.model_json_schema()
    made["properties"]["version"] = {"enum": [1, "1"], "description": "Version of the form: 1."}
    return {"$schema": DIALECT, "title": "drctl plan", **made}
