"""What a marker that cannot be written, and a place that is empty again, are told to be."""

import shutil

import pytest
from recoverable import PLAN, lay_out


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: path.write_text("no database at all" * 100), "no SQLite database"),
    ],
    ids=["missing", "no database"],
)
def test_a_marker_that_cannot_be_written_says_why(bare, make, told) -> None:
    bare.plan(PLAN)
    make(bare.top / "live/base.db")
    said = bare.run("mark", "base", code=4).stderr
    assert told in said
    assert "may drctl write there" not in said
    assert (bare.top / "live/base.db").exists() == ("SQLite" in told)  # none is made


def test_init_tells_that_a_copy_holds_the_history_of_what_is_lost(bare) -> None:
    lay_out(bare)
    line = "drctl replicate --from offsite --to local"
    assert line not in bare.run("init").stderr
    before = bare.snapshots()
    bare.run("replicate")
    shutil.rmtree(bare.top / "local")
    assert line in bare.run("init", code=5).stderr
    assert line in bare.run("init", "--lost", "local").stderr
    assert bare.snapshots() == []
    bare.run("replicate", "--from", "offsite", "--to", "local")
    assert bare.snapshots() == before
