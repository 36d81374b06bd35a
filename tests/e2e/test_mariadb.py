"""MariaDB, a real one, under load: what was committed comes back; what goes wrong is told."""

import datetime
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mariadb_servers import PASSWORD, PLAN, MariaDB, ids, standing, started
from recoverable import asked_in_vain

from drctl.clock import SystemClock
from drctl.engines.base import Health, Surroundings
from drctl.engines.child import find_program
from drctl.engines.mariadb import ENGINE, Settings
from drctl.errors import SourceError
from drctl.events import Silent


def instant_ns(snapshot) -> int:
    at = datetime.datetime.fromisoformat(snapshot["consistent_at"])
    whole = int(at.replace(microsecond=0).timestamp())
    return whole * 10**9 + at.microsecond * 1000


@pytest.fixture(params=["copy", "pipe"])
def mode(request, shop, maria) -> str:
    shop.plan(PLAN.format(socket=maria.socket, more=f", mode: {request.param}"))
    return request.param


def test_a_base_under_load_holds_what_was_committed_before_its_instant_and_nothing_after(
    shop, maria, writer, mode
) -> None:
    maria.ask("create database `od d-é`")
    maria.ask("create table `od d-é`.`tä/b` (a int) engine=aria")
    maria.ask("insert into `od d-é`.`tä/b` values (1), (2)")
    writer.wait_for(100)
    made = shop.json("backup")["snapshots"][0]
    writer.wait_for(50)
    writer.end()
    at_ns = instant_ns(made)
    done = shop.run("restore", "shop", "--to", "back")
    assert "preparing" in done.stderr
    with standing(shop.top / "back") as found:
        rows = ids(found)
        assert found.health().ok, found.health()
        counts = found.counts()
    assert rows == list(range(1, len(rows) + 1))
    assert writer.confirmed_before(at_ns) <= len(rows) <= writer.begun_before(at_ns + 1000)
    assert counts["rows.od d-é.tä/b"] == 2
    assert counts["rows.app.log"] == len(rows)
    assert made["facts"]["gtid"].startswith("0-7-")
    scratch = next((shop.top / "state").glob("*/shop.scratch"))
    assert list(scratch.iterdir()) == [], "the copy was left behind"


def settle(maria) -> None:
    """Everything that is in memory alone goes to the disk, and the redo log begins anew."""
    maria.ask("set global innodb_max_dirty_pages_pct = 0")
    deadline = time.monotonic() + 60
    while int(maria.ask("show status like 'innodb_buffer_pool_pages_dirty'")[0][1]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_unchanged_table_costs_next_to_nothing_and_a_changed_page_a_block(
    shop, maria, mode
) -> None:
    maria.ask("create database app")
    maria.ask("create table app.big (id int primary key auto_increment, v varchar(500))")
    maria.ask("insert into app.big (v) select sha2(rand(), 512) from app.seq_1_to_40000")
    settle(maria)
    first = shop.json("backup")["snapshots"][0]
    maria.ask("update app.big set v = 'changed' where id in (10, 19000, 39000)")
    settle(maria)
    second = shop.json("backup")["snapshots"][0]
    assert first["added_bytes"] > 2_000_000
    assert second["added_bytes"] < 400_000
    other = "copy" if mode == "pipe" else "pipe"
    shop.plan((shop.top / "plan.yaml").read_text().replace(f"mode: {mode}", f"mode: {other}"))
    assert shop.json("backup")["snapshots"][0]["added_bytes"] < 100_000


def test_a_marker_written_into_the_live_server_is_found_in_the_restored_one(shop, maria) -> None:
    around = Surroundings(SystemClock(), Silent(), str(shop.top), "/", secret=lambda _: PASSWORD)
    settings = Settings(host=maria.socket, user="drctl", password="env:WHATEVER")
    assert ENGINE.marker
    marker = ENGINE.marker(settings, "shop", around)
    marker.write(1_000_000_000_000_000_001)
    marker.write(1_000_000_000_000_000_002)
    shop.run("backup")
    marker.write(1_000_000_000_000_000_003)
    shop.run("restore", "shop", "--to", "back")
    with standing(shop.top / "back") as found:
        assert found.newest_mark_ns() == 1_000_000_000_000_000_002
        assert "within 0.3s" in asked_in_vain(found, "select sleep(600) from drctl.marker")


def test_a_damaged_page_is_found_by_the_probe(shop, maria) -> None:
    """Also in a table that keeps its history; and what cannot be checked is no damage."""
    maria.ask("create database app")
    maria.ask("create table app.big (id int primary key auto_increment, v varchar(500)) "
              "with system versioning")  # fmt: skip
    maria.ask("insert into app.big (v) select repeat('y', 400) from app.seq_1_to_2000")
    maria.ask("create sequence app.next")
    maria.ask("create table app.passing (id int) engine=memory")
    shop.run("backup")
    shop.run("restore", "shop", "--to", "back")
    with standing(shop.top / "back") as found:
        assert found.health() == Health(True, "CHECK TABLE: 3 tables are whole")
        assert found.counts()["rows.app.big"] == 2000
    table = shop.top / "back/app/big.ibd"
    with table.open("r+b") as file:
        file.seek(16384 * 10 + 4000)
        file.write(b"damage" * 100)
    with standing(shop.top / "back") as found:
        assert not found.health().ok


def test_files_of_another_server_are_never_taken_for_those_of_the_one_that_was_asked(
    shop, maria, maria_template
) -> None:
    """A server in a container says /var/lib/mysql, and an old one's files lie there on the host."""
    with started(maria_template) as old:
        old.ask("create database app")
        old.ask("create table app.t (v varchar(500))")
        old.ask("insert into app.t select repeat('y', 400) from app.seq_1_to_2000")
        old.stop()
        maria.datadir.rename(maria.home / "in a container")
        old.datadir.rename(maria.datadir)
    for mode in ("copy", "pipe"):
        shop.plan(PLAN.format(socket=maria.socket, more=f", mode: {mode}"))
        done = shop.run("backup", code=4)
        assert "is not of the server at" in done.stderr, done.stderr
        assert "may run in a container" in done.stderr
    assert shop.snapshots() == []


def test_a_wrong_password_is_told_without_the_password_and_leaves_no_snapshot(shop, mode) -> None:
    (shop.top / "password").write_text("wrong-one\n")
    done = shop.run("backup", code=4)
    assert "Access denied" in done.stderr
    assert "docs/engines/mariadb.md" in done.stderr
    assert "wrong-one" not in done.stdout + done.stderr
    assert shop.snapshots() == []


def test_a_server_that_is_not_there_is_told(shop, maria) -> None:
    maria.stop()
    done = shop.run("backup", code=4)
    assert maria.socket in done.stderr
    assert shop.snapshots() == []


def test_missing_grants_are_told_with_where_they_are_named(shop, maria, mode) -> None:
    maria.ask("revoke reload on *.* from drctl@localhost")
    done = shop.run("backup", code=4)
    assert "docs/engines/mariadb.md" in done.stderr
    assert shop.snapshots() == []


def test_a_server_killed_while_it_is_copied_leaves_no_snapshot(
    shop, maria, mode, stop_at_end
) -> None:
    maria.ask("create database app")
    maria.ask("create table app.big (id int primary key auto_increment, v longblob)")
    for _ in range(8):
        maria.ask("insert into app.big (v) values (repeat('z', 8000000))")
    slowly(shop)
    backup = shop.start("backup")
    stop_at_end.append(backup)
    copy = first_sign(shop, mode)
    copying = int((shop.top / "programs/began").read_text())
    os.kill(copying, signal.SIGSTOP)  # so that it is not over before the server is gone
    maria.kill()
    assert copy.exists(), "the copy was over before the server was killed"
    os.kill(copying, signal.SIGCONT)
    _, said = backup.communicate(timeout=60)
    assert backup.returncode == 4, said
    assert "mariadb-backup" in said
    assert shop.snapshots() == []
    scratch = next((shop.top / "state").glob("*/shop.scratch"))
    assert list(scratch.iterdir()) == []
    maria.start()
    del shop.variables["PATH"]
    shop.run("backup")
    shop.run("restore", "shop", "--to", "back")
    with standing(shop.top / "back") as found:
        assert found.counts()["rows.app.big"] == 8


def test_a_base_that_is_not_consistent_yet_bears_the_mark_of_a_restore(shop, stop_at_end) -> None:
    shop.run("backup")
    slowly(shop)
    script = shop.top / "programs/mariadb-backup"
    text = script.read_text().replace("exec", "sleep 600; exec")
    script.write_text(text.replace("|| sleep 600; exec", "|| exec", 1))
    restore = shop.start("restore", "shop", "--to", "back")
    stop_at_end.append(restore)
    began, deadline = shop.top / "programs/began", time.monotonic() + 60
    while not began.exists() or not began.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    restore.kill()
    restore.wait()
    with suppress(ProcessLookupError):  # it had not begun to sleep
        os.killpg(int(began.read_text()), signal.SIGKILL)
    del shop.variables["PATH"]
    said = shop.run("restore", "shop", "--to", "back", code=9).stderr
    assert "back holds what a restore left that was interrupted" in said


def slowly(shop) -> None:
    """The real mariadb-backup, told to read little at a time."""
    folder = shop.top / "programs"
    folder.mkdir()
    script = folder / "mariadb-backup"
    real = find_program("mariadb-backup")
    slow = f'echo $$ >{folder}/began; exec {real} "$@" --throttle=20\n'
    script.write_text(f'#!/bin/sh\n[ "$1" != --version ] || exec {real} "$@"\n{slow}')
    script.chmod(0o755)
    shop.variables["PATH"] = f"{folder}:{os.environ['PATH']}"


def first_sign(shop, mode: str) -> Path:
    """Of mariadb-backup at work; that of a copy is gone once it is over."""
    sought = "state/*/shop.scratch/shop.mariadb-copy/ib*" if mode == "copy" else "programs/began"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(shop.top.glob(sought))
        if found and (shop.top / "programs/began").read_text():
            return found[0]
        time.sleep(0.01)
    raise AssertionError("nothing is copied")


def test_a_disk_that_fills_up_while_it_is_copied_leaves_nothing_behind(shop, maria) -> None:
    """A limit on the size of files stands in for the disk: the kernel refuses the same write."""
    done = subprocess.run(
        ["prlimit", "--fsize=4000000", *shop.argv("backup")],
        env=shop.environment(), cwd=shop.top, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "mariadb-backup" in done.stderr
    assert shop.snapshots() == []
    scratch = next((shop.top / "state").glob("*/shop.scratch"))
    assert list(scratch.iterdir()) == []
    shop.run("backup")


def test_too_little_room_is_told_before_anything_is_copied(maria) -> None:
    around = Surroundings(SystemClock(), Silent(), "/", "/proc", secret=lambda _: PASSWORD)
    settings = Settings(host=maria.socket, user="drctl", password="env:WHATEVER")
    source = ENGINE.source(settings, "shop", around)
    with pytest.raises(SourceError, match=r"the copy needs \d+ bytes, /proc has 0") as caught:
        source.open().__enter__()
    assert "DRCTL_STATE_DIR" in caught.value.hint


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'mariadb-backup based on MariaDB server 10.6.4-MariaDB' >&2", "10.6.4-MariaDB"),
        ('exec {real} "$@"; : ', ""),
        ('case $1 in --version) exec {real} "$@";; esac; exit 0', "completed OK!"),
        ('case $1 in --version) exec {real} "$@";; esac; {real} "$@"; exit 1', "status 1"),
    ],
    ids=["another-series", "sound", "no-trailer", "trailer-but-status-1"],
)
def test_only_a_copy_of_the_right_version_with_status_and_trailer_is_kept(
    shop, mode, script, said
) -> None:
    folder = shop.top / "programs"
    folder.mkdir()
    program = folder / "mariadb-backup"
    program.write_text("#!/bin/sh\n" + script.format(real=find_program("mariadb-backup")) + "\n")
    program.chmod(0o755)
    shop.variables["PATH"] = f"{folder}:{os.environ['PATH']}"
    done = shop.run("backup", code=4 if said else 0)
    assert said in done.stderr
    assert len(shop.snapshots()) == (0 if said else 1)


def test_a_restore_into_a_data_directory_in_use_is_refused(shop, maria) -> None:
    shop.run("backup")
    before = sorted(path.name for path in maria.datadir.iterdir())
    done = shop.run("restore", "shop", "--to", maria.datadir, code=9)
    assert "is not empty" in done.stderr
    assert sorted(path.name for path in maria.datadir.iterdir()) == before
    assert maria.ask("select 1") == [(1,)]


def test_a_password_is_in_no_argument_no_environment_and_no_file(shop, maria, mode) -> None:
    """Seen from inside the program that gets it."""
    folder = shop.top / "programs"
    folder.mkdir()
    seen = shop.top / "seen"
    program = folder / "mariadb-backup"
    program.write_text(
        "#!/bin/sh\n"
        f"{{ tr '\\0' '\\n' </proc/$$/cmdline; tr '\\0' '\\n' </proc/$$/environ; }} >>{seen}\n"
        f'exec {find_program("mariadb-backup")} "$@"\n'
    )
    program.chmod(0o755)
    shop.variables["PATH"] = f"{folder}:{os.environ['PATH']}"
    shop.run("backup")
    assert "--backup" in seen.read_text()
    assert "any" not in seen.read_text()
    assert "correct horse" not in seen.read_text()


# -- logical dumps --------------------------------------------------------------------------------


@pytest.fixture
def dumped(shop, maria):
    shop.plan(PLAN.format(socket=maria.socket, more=", dump: true"))
    maria.ask("create database app")
    maria.ask("create table app.t (id int primary key, v blob)")
    maria.ask("insert into app.t values (1, x'00ff27'), (2, null)")
    maria.ask("create procedure app.p() select 42")
    maria.ask("create database `--result-file=stolen`")
    (maria.datadir / "lost+found").mkdir(mode=0o700)  # where it is a file system of its own
    maria.ask("create user reader@localhost identified by 'r'")
    maria.ask("grant select on app.* to reader@localhost")
    return shop


def test_a_dump_loads_into_another_server_with_its_users_and_routines(
    dumped, maria, maria_template
) -> None:
    assert "TRIGGER" not in dumped.run("backup").stderr
    dumped.run("restore", "shop", "--to", "back")
    assert sorted(p.name for p in (dumped.top / "back").iterdir()) == [
        "databases.sql",
        "system.sql",
    ]
    with standing(dumped.top / "back") as found:
        assert found.health().ok
        assert found.counts() == {"rows.app.t": 2}
    assert not (dumped.top / "back.drctl-loaded").exists()
    with started(maria_template) as other:
        for name in ("databases.sql", "system.sql"):
            load(other, dumped.top / "back" / name)
        assert other.ask("select id, hex(v) from app.t order by id") == [(1, "00FF27"), (2, None)]
        assert other.ask("call app.p()") == [(42,)]
        assert other.ask("show databases like '--%'") == [("--result-file=stolen",)]
        assert any("`app`" in row[0] for row in other.ask("show grants for reader@localhost"))
    maria.ask("revoke trigger on *.* from drctl@localhost")
    assert "without TRIGGER on *.*" in dumped.run("backup").stderr
    maria.ask("create database old")
    maria.ask("create table old.t (id int) engine=Aria")
    (maria.datadir / "old").rename(maria.datadir / "o-ld")
    assert "#mysql50#o-ld is a database of before" in dumped.run("backup", code=4).stderr


def load(maria: MariaDB, path: Path) -> None:
    argv = [str(find_program("mariadb")), "--no-defaults", f"--socket={maria.socket}", "-uroot"]
    with path.open("rb") as file:
        subprocess.run(argv, stdin=file, check=True)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('{real} "$@" | head -c 900', "ended without the line '-- Dump completed'"),
        ('{real} "$@"; exit 3', "failed with exit status 3"),
        ("[ $1 != --version ] || echo 'mysqldump Distrib 10.3.9-MariaDB'", "10.3.9-MariaDB"),
    ],
    ids=["cut", "status", "older-client"],
)
def test_a_dump_that_is_not_proven_is_not_kept(dumped, script, said) -> None:
    folder = dumped.top / "programs"
    folder.mkdir()
    program = folder / "mariadb-dump"
    real = find_program("mariadb-dump")
    sound = "" if "10.3.9" in script else f'[ "$1" != --version ] || exec {real} "$@"\n'
    program.write_text(f"#!/bin/sh\n{sound}{script.format(real=real)}\n")
    program.chmod(0o755)
    dumped.variables["PATH"] = f"{folder}:{os.environ['PATH']}"
    done = dumped.run("backup", code=4)
    assert said in done.stderr
    assert dumped.snapshots() == []


def test_a_backup_marks_the_server_and_goes_on_where_it_may_not(shop, maria) -> None:
    plan = (shop.top / "plan.yaml").read_text()
    shop.plan(plan.replace("user: drctl", "user: drctl, mark: true"))
    assert "no marker" not in shop.run("backup").stderr
    ((first,),) = maria.ask("select at_ns from drctl.marker")
    maria.ask("revoke insert on drctl.* from drctl@localhost")
    said = shop.run("backup").stderr
    assert "shop: no marker was written: " in said
    assert "grants right? See docs/engines/mariadb.md" in said
    assert maria.ask("select at_ns from drctl.marker") == [(first,)]
    assert len(shop.snapshots()) == 2
