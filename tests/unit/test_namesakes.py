"""What a host keeps of two plans of one name lies apart; of one plan together, wherever it lies."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recoverable import PLAN

from drctl import plan
from drctl.cli.namesakes import home_of


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the plan in a directory is called; what is warned of is in `warned`."""
    monkeypatch.setenv("DRCTL_STATE_DIR", str(tmp_path / "state"))
    warned: list[str] = []

    def called(directory: str, text: str = PLAN, kit: bool = False) -> str:
        top = tmp_path / directory
        if kit:
            loaded = plan.load_text(text.encode(), "the plan in kit.json", str(top))
        else:
            top.mkdir(exist_ok=True)
            (top / "plan.yaml").write_text(text)
            loaded = plan.load(str(top / "plan.yaml"))
        wiring: Any = SimpleNamespace(loaded=loaded, warn=warned.append)
        return Path(home_of(wiring, "recoveries")).name

    return SimpleNamespace(of=called, top=tmp_path, warned=warned)


def test_a_copied_plan_with_repositories_of_its_own_is_another(called) -> None:
    assert (called.of("live"), called.of("staging")) == ("shop", "shop~2")
    assert [f"{called.top}/live/plan.yaml" in text for text in called.warned] == [True]
    assert (called.of("live"), called.of("staging")) == ("shop", "shop~2")
    assert len(called.warned) == 1


def test_a_plan_stays_itself_whatever_becomes_of_it(called) -> None:
    assert called.of("live") == "shop"
    elsewhere = PLAN.replace("path: local", "path: /r/local").replace("path: off", "path: /r/off")
    assert called.of("live", elsewhere) == "shop"  # its repositories moved
    assert called.of("copied", elsewhere) == "shop"  # one that shares them
    assert called.of("live") == "shop"
    (called.top / "live/plan.yaml").unlink()
    (called.top / "live/local").mkdir()
    assert called.of("other") == "shop~2"  # the site is lost, its repository is not
    assert called.of("live", kit=True) == "shop"
    shutil.move(called.top / "other", called.top / "moved")
    assert called.of("moved") == "shop~2"
    assert len(called.warned) == 1


def test_what_this_host_knows_of_plans_is_taken_over_where_it_does_not_read(called) -> None:
    assert called.of("live") == "shop"
    (called.top / "state/plans/shop.json").write_text("")
    assert called.of("live") == "shop"
    assert called.of("staging") == "shop~2"
    shutil.rmtree(called.top / "state")
    (called.top / "state").write_text("no directory")
    assert called.of("live") == "shop"
