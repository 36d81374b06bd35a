"""The example plans: each is taken as it stands, and those without a cloud are run for real."""

import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

PLANS = Path(__file__).parents[2] / "plans"
NAMES = sorted(path.stem for path in PLANS.glob("*.yaml"))
OUTSIDE = re.compile(r"(?<=[\s:\[])/(?=(srv|media|mnt|etc|var|root)/)")


def text(name: str) -> str:
    return (PLANS / f"{name}.yaml").read_text("utf-8")


def brought_below(top: Path, name: str) -> str:
    """The plan with every absolute path brought below a directory of the test."""
    moved = OUTSIDE.sub(f"{top}/", text(name)).replace("cd /srv", f"cd {top}/srv")
    assert not re.search(r"(?<=[\s:\[])/(srv|media|mnt|etc|var|root)", moved)
    return moved


def lay(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_there_are_examples() -> None:
    assert {"laptop", "web-app", "two-sites"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_taken_by_the_real_command(bare, name) -> None:
    bare.plan(text(name))
    result = bare.json("validate")
    assert result["valid"]
    told = [finding["what"] for finding in result["findings"]]
    expected = ["all copies stand in one failure domain"] if name == "laptop" else []
    assert [what[:38] for what in told] == expected


@pytest.mark.parametrize("name", NAMES)
def test_an_example_fits_the_schema_that_the_real_command_prints(bare, name) -> None:
    judge = Draft202012Validator(bare.json("schema"))
    judge.validate(yaml.safe_load(text(name)))


def test_the_laptop_plan_backs_up_and_restores(bare, differences) -> None:
    documents = bare.top / "Documents"
    lay(documents / "letters/one.txt", "dear")
    lay(documents / "draft.tmp", "not this")
    bare.plan(brought_below(bare.top, "laptop"))
    bare.run("init")
    assert (bare.top / "home/.config/drctl/writer.key").is_file()
    assert (bare.top / "media/key-stick/identity.key").is_file()
    bare.run("backup")
    bare.run("restore", "documents", "--to", bare.top / "recovered")
    (documents / "draft.tmp").unlink()
    assert not (bare.top / "recovered/draft.tmp").exists()
    assert differences(documents / "letters", bare.top / "recovered/letters") == ""


def test_the_second_disk_of_the_laptop_plan_takes_the_finding_away(bare) -> None:
    commented = re.sub(r"(?m)^  # (?=away|second|  )", "  ", text("laptop"))
    bare.plan(commented)
    result = bare.json("validate")
    assert result["findings"] == []
    assert "second:" in re.sub(r"#.*", "", commented)


def test_the_plan_of_two_sites_loses_one_and_restores_from_the_other(bare, differences) -> None:
    top = bare.top
    lay(top / "srv/projects/plan.txt", "build it")
    lay(top / "srv/projects/.snapshots/old.txt", "not this")
    lay(top / "etc/app/app.conf", "a = 1")
    lay(top / "srv/app/settings/theme", "dark")
    bare.plan(brought_below(top, "two-sites"))
    bare.run("init")
    bare.run("backup")
    bare.run("verify", "--from", "far", "--read-data", "100")
    (top / "srv/drctl/repository").rename(top / "lost")
    for asset in ("projects", "system"):
        bare.run("restore", asset, "--from", "far", "--to", top / "back" / asset)
    bare.run("restore", "inventory", "--from", "far", "--to", f"{top}/back/")
    assert [path.name for path in (top / "back/projects").iterdir()] == ["plan.txt"]
    inner = top / "back/system" / str(top).lstrip("/")
    assert differences(top / "etc/app", inner / "etc/app") == ""
    assert differences(top / "srv/app/settings", inner / "srv/app/settings") == ""
    assert (top / "back/inventory.txt").read_text() == "./.snapshots/old.txt\n./plan.txt\n"


def test_a_plan_with_mistakes_ends_with_its_exit_code_and_tells_all_of_them(bare) -> None:
    bare.plan(text("two-sites").replace("copy_of: near", "copy_of: neer").replace("1h", "one hour"))
    said = bare.run("validate", code=3).stderr
    assert "repositories.far.copy_of: no repository 'neer'" in said
    assert "objectives.rpo: 'one hour' is not a duration" in said
    error = bare.json("validate", code=3)["error"]
    assert len(error["problems"]) == 2
    assert all(problem.startswith(f"{bare.top}/plan.yaml:") for problem in error["problems"])
