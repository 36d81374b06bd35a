"""What the README shows works as it is shown."""

import re
import shlex
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
COMMANDS = sorted(
    {line.strip()[2:] for line in README.splitlines() if line.startswith("    $ drctl")}
)


def shown_plan() -> str:
    """The blocks of YAML, which together are one plan."""
    return "\n".join(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))


def test_the_plan_of_the_readme_is_taken_by_the_real_command(bare) -> None:
    bare.plan(shown_plan())
    result = bare.json("validate")
    assert result["valid"]
    assert not [finding for finding in result["findings"] if "not signed" in finding["what"]]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_one_that_exists(bare, line) -> None:
    _, command, *words = shlex.split(line)
    told = bare.run(command, "--help").stdout
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if option not in told] == []


def test_whatever_the_readme_points_at_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    top = Path(__file__).parents[2]
    assert links
    assert [link for link in links if not (top / link).exists()] == []
