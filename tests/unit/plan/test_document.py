"""docs/plan.md is true: every key with its default, every example, every message."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from drctl.plan.model import Plan
from drctl.plan.settings import Settings

TEXT = (Path(__file__).parents[3] / "docs" / "plan.md").read_text("utf-8")
SPOKEN = {"none", "none set", "see below", "the SDK's own search"}
MISTAKEN, TOLD = re.findall(r"```yaml\n([^`]*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)[0]


def sections() -> dict[str, dict[str, tuple[str, str]]]:
    """Heading -> key -> (type, default), of every table of keys."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for part in re.split(r"(?m)^### ", TEXT)[1:]:
        rows = re.findall(r"(?m)^\| `(\w+)` \| (.+?) \| (.+?) \| .+ \|$", part.split("\n## ")[0])
        found[part.splitlines()[0]] = {key: (kind, default) for key, kind, default in rows}
    return found


def inner(annotation: Any) -> type[BaseModel] | None:
    """The model in `X | None`, `dict[name, X]`, X itself, or what stands for an engine's."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, Settings):
        return annotation.model
    found = [inner(argument) for argument in get_args(annotation)]
    return next((model for model in found if model), None)


def models(
    model: type[BaseModel], at: str, seen: set[type[BaseModel]] | None = None
) -> dict[str, type[BaseModel]]:
    """Heading -> model, of this model and all below, each where it stands first."""
    seen = set() if seen is None else seen
    found = {at or "The plan": model}
    for name, field in model.model_fields.items():
        below = inner(field.annotation)
        if below and below not in seen:
            seen.add(below)
            named = f"{name}.NAME" if "dict[" in str(field.annotation) else name
            found |= models(below, f"{at}.{named}" if at else named, seen)
    return found


def written(field: FieldInfo) -> set[str]:
    """What may stand in the column of defaults."""
    default = field.default
    if field.is_required():
        return {"required"}
    if default is None:
        return {"-"}
    assert default is not PydanticUndefined
    if isinstance(default, bool):
        return {f"`{str(default).lower()}`"}
    if isinstance(default, BaseModel | dict | tuple):
        return SPOKEN
    return {f"`{default}`" if default != "" else "`''`"}


def test_every_key_stands_in_its_section_and_no_other_does() -> None:
    documented = {heading: set(rows) for heading, rows in sections().items()}
    known = {heading: set(model.model_fields) for heading, model in models(Plan, "").items()}
    assert documented == known


def test_every_default_is_the_true_one() -> None:
    rows = sections()
    wrong = [
        f"{heading}.{name}: {rows[heading][name][1]}"
        for heading, model in models(Plan, "").items()
        for name, field in model.model_fields.items()
        if rows[heading][name][1] not in written(field)
    ]
    assert wrong == []


def test_the_example_is_a_plan_without_a_finding(load) -> None:
    example = re.findall(r"```yaml\n(version.*?)```", TEXT, re.DOTALL)[0]
    assert load(example).findings == ()


def test_the_mistakes_shown_are_the_ones_told(mistakes) -> None:
    assert [f"plan.yaml:{line}" for line in mistakes(MISTAKEN)] == TOLD.splitlines()


FINDINGS = re.findall(r"(?m)^\| `(.+?)`[^|]*\| .+ \| .+ \|$", TEXT.partition("## Findings")[2])
TROUBLED = """\
version: 1
name: shop
sites: {main: {failure_domain: a}, dr: {failure_domain: FAR}}
repositories:
  local: {site: main, path: repo/local, keep: {tags: [release]}}
  near: {site: main, path: near, copy_of: local}
  far: {site: dr, path: far, copy_of: local}
keys: {credential: file:repo/local/key, identity: file:plan.yaml}
assets:
  uploads: {files: {paths: [repo]}, rpo: 30m, schedule: hourly}
  again: {files: {paths: [repo]}, schedule: hourly}
  inside: {files: {paths: [repo/local/data]}, rpo: 1h}
  wild: {files: {paths: ["*.d"]}, rpo: 1h, schedule: hourly}
  whole: {files: {paths: [/srv/x], exclude: [/srv/x/y]}, rpo: 1h, schedule: hourly}
  base: {sqlite: {path: base.db}, rpo: 1h, schedule: hourly}
  cfg: {command: {run: [dump-it], name: cfg.txt}, rpo: 1h, schedule: hourly}
"""
UNPROVEN = """\
recovery:
  steps:
    hold: {wait: 1s}
    ask: {approval: boss, when: [drill]}
    agree: {approval: boss}
    base: {restore: base}
checks:
  - {asset: base, sql: "select count(*) from t", expect: {min: 0}}
"""
DRILL = "drills: {near: {from: local}}\n"


def all_told(findings) -> list[str]:
    plans = [TROUBLED, TROUBLED + UNPROVEN, TROUBLED + UNPROVEN + DRILL]
    return [
        line for plan in plans for domain in "ba" for line in findings(plan.replace("FAR", domain))
    ]


@pytest.mark.parametrize("finding", sorted(set(FINDINGS)))
def test_a_finding_is_told_in_the_words_of_the_document(findings, finding) -> None:
    assert any(finding in line for line in all_told(findings))


def test_no_finding_is_left_out_of_the_document(findings) -> None:
    told = all_told(findings)
    silent = [line for line in told if not any(finding in line for finding in FINDINGS)]
    assert silent == []
    assert len(FINDINGS) == 25
