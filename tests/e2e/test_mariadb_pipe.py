"""`mode: pipe` with a storage that hangs: a real server goes on, and nothing is missing after."""

import time
from collections.abc import Callable

from mariadb_servers import PASSWORD

from drctl.clock import SystemClock
from drctl.engines import buffered
from drctl.engines.base import Surroundings
from drctl.engines.mariadb import ENGINE, Settings
from drctl.events import Silent

ALL_STAGES = 5  # START, FLUSH, BLOCK_DDL, BLOCK_COMMIT, END


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "mariadb-backup waits for the storage"
        time.sleep(0.02)


def test_a_storage_that_hangs_holds_up_neither_commits_nor_ddl(maria, writer, tmp_path) -> None:
    """What it is to take meanwhile is more than memory holds, and comes while tables are locked:
    MyISAM under FLUSH, the log tables under BLOCK_DDL, their ends under BLOCK_COMMIT."""
    maria.ask("set global log_output = 'TABLE', general_log = 1")
    maria.ask(
        "create table app.large (id int primary key auto_increment, v longblob) engine=myisam"
    )
    for letter in "abcd":
        maria.ask("insert into app.large (v) values (%s)", letter * 8_000_000)

    def is_over() -> bool:
        stages = int(maria.ask("show global status like 'Com_backup'")[0][1])
        found = maria.ask("select count(*) from information_schema.processlist where user='drctl'")
        return stages == ALL_STAGES and not found[0][0]

    def hang() -> int:
        wait_until(is_over)
        now_ns = time.time_ns()
        writer.wait_for(50)
        maria.ask("create table app.meanwhile (a int)")
        return now_ns

    around = Surroundings(SystemClock(), Silent(), str(tmp_path), "/", secret=lambda _: PASSWORD)
    settings = Settings(host=maria.socket, user="drctl", password="env:WHATEVER", mode="pipe")
    found = {}
    with ENGINE.source(settings, "shop", around).open() as capture:
        for number, item in enumerate(capture.items()):
            if number == 1:  # the first file; mariadb-backup is at work
                free_ns = hang()
            content = item.content
            found[item.path] = content.load(item.entry())[1] if content else b""
        assert capture.consistent_at_ns < free_ns
    large, log = (found[name] for name in (b"app/large.MYD", b"mysql/general_log.CSV"))
    assert len(large) + len(log) > buffered._MOST_BYTES + (20 << 20)
    assert large == (maria.datadir / "app/large.MYD").read_bytes()
    assert (maria.datadir / "mysql/general_log.CSV").read_bytes().startswith(log)
    assert b"app/meanwhile.frm" not in found
    assert list(tmp_path.iterdir()) == []
