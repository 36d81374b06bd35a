"""Plans out of text: what is told about one, as a person would see it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drctl import plan
from drctl.errors import PlanError

HEAD = """\
version: 1
name: test
objectives: {rpo: 2h}
sites:
  here: {failure_domain: a}
  there: {failure_domain: b}
repositories:
  local: {site: here, path: local}
  offsite: {site: there, path: offsite, copy_of: local}
"""
ASSETS = """\
assets:
  tree:
    files: {paths: [live]}
    schedule: hourly
"""


def with_asset(text: str) -> str:
    """A plan whose one asset has these settings, on line 12 from column 5 on."""
    return f"{HEAD}assets:\n  one:\n    {text}\n"


@pytest.fixture
def good() -> str:
    """A plan without a mistake and without a finding: fourteen lines less one."""
    return HEAD + ASSETS


@pytest.fixture
def one_asset() -> Callable[[str], str]:
    return with_asset


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str | bytes], plan.LoadedPlan]:
    def loaded(text: str | bytes) -> plan.LoadedPlan:
        path = tmp_path / "plan.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return plan.load(str(path))

    return loaded


@pytest.fixture
def mistakes(load, tmp_path: Path) -> Callable[[str | bytes], list[str]]:
    """The mistakes in a plan, each as `line:column: where: what`; none when it is taken."""

    def told(text: str | bytes) -> list[str]:
        front = f"{tmp_path / 'plan.yaml'}:"
        problems: tuple[str, ...] = ()
        try:
            load(text)
        except PlanError as error:
            problems = error.problems or ("no problem was told",)
        assert all(problem.startswith(front) for problem in problems)
        return [problem.removeprefix(front) for problem in problems]

    return told


@pytest.fixture
def findings(load) -> Callable[[str], list[str]]:
    """What lint says, each as `line:column: where: what`."""

    def told(text: str) -> list[str]:
        return [finding.show("")[1:] for finding in load(text).findings]

    return told
