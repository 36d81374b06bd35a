"""What stands while it is checked is taken down when the run ends, whoever still asks it."""

import sqlite3
import threading
from types import SimpleNamespace

import pytest

from drctl.engines import sqlite
from drctl.errors import DrctlError
from drctl.ops.recovery.returning import Views


def test_a_database_that_was_taken_down_is_asked_nothing_more(tmp_path) -> None:
    """Whoever waited for its turn to ask would else read from what is closed."""
    path = str(tmp_path / "base")
    sqlite3.connect(path).close()
    asset = SimpleNamespace(
        name="base", to=path, make_probe=lambda at: sqlite.Probe(sqlite.Settings(path=at), at, None)
    )
    views = Views()
    view = views.open(asset)
    refused = []

    def ask() -> None:
        try:
            with view.alone():
                view.standing.newest_mark_ns()
        except DrctlError as error:
            refused.append(error.what)

    with view.alone():
        closing = threading.Thread(target=views.close)
        closing.start()
    closing.join()
    ask()
    assert refused == ["base was taken down before it was asked"]
    with pytest.raises(DrctlError), view.alone():
        pytest.fail("it was asked")
