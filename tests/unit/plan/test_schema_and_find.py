"""What editors get, where the plan is looked for, when an asset is due."""

import json
import re

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from drctl.errors import PlanError
from drctl.plan.find import HERE, SYSTEM, find
from drctl.plan.schedule import SCHEDULE_PATTERN, parse_schedule
from drctl.plan.schema import schema
from drctl.plan.starter import starter


@pytest.fixture
def judge() -> Draft202012Validator:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema())


def test_the_schema_is_json_and_new_each_time() -> None:
    first = schema()
    json.dumps(first)
    first.clear()
    assert schema()["title"] == "drctl plan"


def test_a_good_plan_fits_the_schema(judge, good) -> None:
    judge.validate(yaml.safe_load(good))
    judge.validate(yaml.safe_load(starter("shop")))


def test_the_starter_plan_is_taken_by_the_loader(load) -> None:
    loaded = load(starter("shop"))
    assert loaded.plan.name == "shop"
    assert len(loaded.findings) == 1
    assert "one failure domain" in loaded.findings[0].what


def test_the_starter_plan_is_taken_with_its_comments_taken_off(load) -> None:
    lines = [re.sub(r"^  # ", "  ", line) for line in starter("shop").splitlines()]
    loaded = load("\n".join(lines) + "\n")
    assert set(loaded.plan.assets) == {"data", "settings", "ledger"}
    assert loaded.findings == ()


@pytest.mark.parametrize(
    "change",
    [
        ("version: 1", "version: 2"),
        ("name: test", "nam: test"),
        ("rpo: 2h", "rpo: soon"),
        ("schedule: hourly", "schedule: sometimes"),
        ("files:", "fils:"),
        ("path: local", "path: [local]"),
        ("paths: [live]", "paths: live"),
        ("paths: [live]", "paths: [live], one_file_system: maybe"),
        ("schedule: hourly", "compression: 99"),
        ("schedule: hourly", "schedule:"),
        ("files: {paths: [live]}", "files:"),
        ("path: local", "path: local, keep: {daily: 0}"),
    ],
)
def test_what_the_loader_refuses_an_editor_underlines(judge, mistakes, good, change) -> None:
    text = good.replace(*change)
    assert mistakes(text)
    with pytest.raises(ValidationError):
        judge.validate(yaml.safe_load(text))


def test_every_key_in_the_schema_says_what_it_means() -> None:
    made = schema()
    silent = [
        f"{name}.{key}"
        for name, part in {"plan": made, **made["$defs"]}.items()
        for key, value in part["properties"].items()
        if not value.get("description") and "$ref" not in value
    ]
    assert silent == []
    assert all(part.get("description") for part in made["$defs"].values())


def test_what_is_named_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / HERE).touch()
    assert find("named.yaml", {"DRCTL_PLAN": "other.yaml"}) == "named.yaml"
    assert find(None, {"DRCTL_PLAN": "other.yaml"}) == "other.yaml"
    assert find(None, {"DRCTL_PLAN": ""}) == HERE
    assert find("", {}) == HERE


def test_without_any_plan_it_is_told_where_it_was_looked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match=re.escape("no plan: neither ./drctl.yaml nor /etc/")):
        find(None, {})
    assert SYSTEM == "/etc/drctl/plan.yaml"


@pytest.mark.parametrize(
    ("text", "gap_seconds"),
    [
        ("every 1m", 60),
        ("every 10m", 600),
        ("every  1h30m ", 5400),
        ("hourly", 3600),
        ("daily", 86400),
        ("daily at 02:30", 86400),
        ("daily at 23:59", 86400),
        ("weekly", 604800),
        ("weekly on sunday", 604800),
        ("weekly at 03:00", 604800),
        ("weekly on sunday at 03:00", 604800),
    ],
)
def test_a_schedule_is_read_as_it_is_said(text, gap_seconds) -> None:
    made = parse_schedule(text)
    assert made.gap_seconds == gap_seconds
    assert made.text == " ".join(text.split())
    assert re.search(SCHEDULE_PATTERN, made.text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "every",
        "every now and then",
        "every 30s",
        "every 0m",
        f"every {'9' * 400}d",
        "Hourly",
        "daily at 24:00",
        "daily at 12:60",
        "daily at 2:30",
        "daily at ٠٢:٣٠",
        "daily 02:30",
        "weekly on funday",
        "weekly on sunday at 25:00",
        "monthly",
        "*/5 * * * *",
    ],
)
def test_what_is_no_schedule_says_what_is_one(text) -> None:
    with pytest.raises(ValueError, match=r"every \S+|is not a duration such as"):
        parse_schedule(text)
