"""What was broken on purpose is caught by the drill, and named."""

import sqlite3
from contextlib import closing

import pytest
from recoverable import PLAN, change, drill, lay_out, program, reasons
from servers import ACCESS_KEY, SECRET_KEY, Proxy


@pytest.fixture
def ready(bare):
    lay_out(bare)
    return bare


def alter(ready, statement: str) -> None:
    with closing(sqlite3.connect(ready.top / "live/base.db")) as database, database:
        database.execute(statement)
    ready.run("backup", "base")


def test_a_dropped_and_an_emptied_table_are_named(ready) -> None:
    alter(ready, "delete from t")
    assert "base 1: sql: found 0, at least 1 is due" in reasons(drill(ready, "failed"))
    alter(ready, "drop table t")
    assert "no such table: t" in reasons(drill(ready, "failed"))


def test_a_check_that_is_always_true_makes_the_drill_invalid(ready) -> None:
    change(ready, "select count(*) from t", "select 1")
    told = reasons(drill(ready, "invalid"))
    assert "check 'base 1: sql' passes on an empty" in told
    assert "it cannot fail and proves nothing" in told


def test_a_link_that_is_another_file_and_rubbish_in_a_hole_are_told(ready) -> None:
    with (ready.top / "live/tree/holes").open("wb") as file:
        file.write(b"data")
        file.truncate(4 << 20)
    ready.run("backup", "tree")
    same = "    same: {check: {asset: tree, compare: manifest}, after: [app]}\n"
    change(ready, "    well: {", f"{same}    well: {{")
    spoils = """#!/bin/sh
    set -eu
    cd "$DRCTL_AT_TREE"
    for at in . sub holes; do touch -r $at "$DRCTL_DRILL/time-$(basename $at)"; done
    cp -p a.txt sub/same && mv sub/same sub/same-as-a
    printf rubbish | dd of=holes bs=1 seek=3000000 conv=notrunc 2>/dev/null
    for at in . sub holes; do touch -r "$DRCTL_DRILL/time-$(basename $at)" $at; done
    echo up
    """
    program(ready.top / "app", spoils)
    told = reasons(drill(ready, "failed"))
    assert "2 differ: holes: its content is another" in told
    assert "sub/same-as-a: it is not the same file as a.txt" in told


def test_no_program_is_run_where_production_may_be_in_reach(ready) -> None:
    (ready.top / "programs").mkdir()
    ready.variables["PATH"] = str(ready.top / "programs")  # unshare is not there
    program(ready.top / "app", "#!/bin/sh\n: > done\necho up\n")
    told = reasons(drill(ready, "failed"))
    assert "app: ./app: not run: isolation was not proven: unshare cannot be run" in told
    assert not (ready.top / "done").exists()


def test_a_stale_copy_misses_its_objective(ready) -> None:
    change(ready, "rpo: 1h", "rpo: 1ms")
    told = reasons(drill(ready, "missed"))
    assert "RPA of base is" in told
    assert "RPA of tree is" in told


def test_a_hanging_script_ends_at_its_time_limit(ready) -> None:
    program(ready.top / "app", "#!/bin/sh\nsleep 600\n")
    change(ready, "after: [base, tree]}", "after: [base, tree], timeout: 3s}")
    assert "app: it did not end within 3.0s and was killed" in reasons(drill(ready, "failed"))


def test_a_wrong_order_is_caught_by_the_step_that_came_too_early(ready) -> None:
    change(ready, "after: [base, tree]", "after: []")
    change(ready, "{restore: base, after: [fence]}", "{restore: base, after: [app]}")
    program(ready.top / "app", "#!/bin/sh\ntest -s $DRCTL_AT_BASE || { echo no base; exit 1; }\n")
    assert "app: exit status 1; it said: no base" in reasons(drill(ready, "failed"))


def test_a_wrong_key_and_a_damaged_pack_are_named(ready) -> None:
    ready.variables["DRCTL_PASSPHRASE"] = "another"
    assert "passphrase" in ready.run("drill", "far", code=7).stderr
    del ready.variables["DRCTL_PASSPHRASE"]
    for pack in (ready.top / "offsite/packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[len(data) // 3] ^= 1
            pack.chmod(0o600)
            pack.write_bytes(data)
    done = ready.run("drill", "far", "--json", code=10).stdout
    assert "DAMAGED in the repository" in done or "packs/" in done


def test_a_network_that_is_cut_is_named(bare, s3_server) -> None:
    link = Proxy(s3_server.port)
    place = f'bucket: {s3_server.new_bucket()}, endpoint: "{link.endpoint}"'
    keys = 'credentials: {access_key: "env:ACCESS", secret_key: "env:SECRET"}'
    bare.variables |= {"ACCESS": ACCESS_KEY, "SECRET": SECRET_KEY}
    lay_out(bare, PLAN.replace("path: offsite", f"s3: {{{place}, {keys}}}"))
    link.cut_after = 200_000  # of what each connection brings: a listing passes, the data does not
    found = drill(bare, "failed")
    link.close()
    assert link.cuts > 1
    told = reasons(found)
    assert "tree: s3://" in told
