"""People and collectors are told how runs end: by a real server, real programs, a real file."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from recoverable import APP, change, lay_out, program


class Hook(ThreadingHTTPServer):
    """Keeps what it was sent, and answers with `status`; None: not at all."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeping)
        self.got: list[dict[str, Any]] = []
        self.status: int | None = 204
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/s3cret-token"


class _Keeping(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        hook = self.server
        assert isinstance(hook, Hook)
        assert self.headers["Content-Type"] == "application/json"
        hook.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if hook.status is None:
            hook.over.wait(60)
            return
        self.send_response(hook.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def told(site, hook: Hook, more: str = "") -> None:
    """The site tells this hook."""
    site.plan((site.top / "plan.yaml").read_text() + f"notify:\n  to: [env:HOOK]\n{more}")
    site.variables["HOOK"] = hook.url


def test_a_failure_is_told_once_and_so_is_its_end(site, hook) -> None:
    told(site, hook)
    base = site.top / "live/base.db"
    base.rename(site.top / "away.db")
    for _ in range(2):
        site.run("backup", "base", code=4)
    assert [m["event"] for m in hook.got] == ["failure"]
    message = hook.got[0]
    assert (message["plan"], message["command"], message["subject"]) == ("test", "backup", "base")
    assert message["exit_code"] == 4
    assert "base.db" in message["reasons"][0]
    assert message["text"].startswith("drctl: backup base of test on ")
    assert "s3cret" not in json.dumps(message)
    assert "correct horse" not in json.dumps(message)
    (site.top / "away.db").rename(base)
    for _ in range(2):
        site.run("backup", "base")
    assert [m["event"] for m in hook.got] == ["failure", "recovered"]


def test_a_missed_objective_and_a_success_are_told_where_they_are_wanted(site, hook) -> None:
    told(site, hook, "  on: [objective_missed, success]\n")
    site.run("status", code=10)
    site.run("backup")
    site.run("backup", "tree")
    assert [(m["event"], m["command"]) for m in hook.got] == [
        ("objective_missed", "status"),
        ("success", "backup"),
        ("success", "backup"),
    ]
    assert any("no recovery point" in reason for reason in hook.got[0]["reasons"])
    site.run("snapshots")
    assert len(hook.got) == 3


def test_another_asset_that_fails_with_the_same_code_is_told(site, hook) -> None:
    told(site, hook)
    (site.top / "live/base.db").rename(site.top / "away.db")
    site.run("backup", code=4)
    (site.top / "live/tree").rename(site.top / "away")
    for _ in range(2):
        site.run("backup", code=4)
    assert [len(m["reasons"]) for m in hook.got] == [1, 2]


def test_whoever_does_not_hear_changes_no_exit_code_and_is_tried_again(site, hook) -> None:
    told(site, hook, "  on: [success]\n")
    plan = (site.top / "plan.yaml").read_text()
    for status in (500, 302, None):
        hook.status = status
        site.plan(plan if status else f"{plan}  timeout: 1s\n")
        said = site.run("backup", "tree").stderr
        assert "not told: notify.to[0]: " in said
        assert "s3cret" not in said
    site.plan(plan)
    hook.status = 200
    assert "not told" not in site.run("backup", "tree").stderr
    assert len(hook.got) == 4


def test_nobody_to_be_reached_is_a_warning_and_the_others_are_told(site, hook) -> None:
    program(site.top / "page", "#!/bin/sh\ncat > page.json\nenv > page.env\n")
    program(site.top / "hang", "#!/bin/sh\nsleep 600\n")
    told(site, hook, "  on: [success]\n  timeout: 4s\n")
    ways = "env:NOTHING, file:none, {run: [./page]}, {run: [./hang]}, {run: [./none]}, env:HOOK"
    text = (site.top / "plan.yaml").read_text()
    site.plan(text.replace("to: [env:HOOK]", f"to: [{ways}]"))
    said = site.run("backup", "tree").stderr
    for number, why in ((0, "no NOTHING"), (1, "none"), (3, "did not end in time"), (4, "none")):
        assert any(f"notify.to[{number}]" in x and why in x for x in said.splitlines()), said
    assert hook.got[0] == json.loads((site.top / "page.json").read_text())
    assert "correct horse" not in (site.top / "page.env").read_text()


def test_who_did_not_hear_is_told_by_the_next_run_and_nobody_else(site, hook) -> None:
    told(site, hook)
    pages = "#!/bin/sh\ntest -e hears || exit 1\ncat >> pages\necho >> pages\n"
    program(site.top / "page", pages)
    text = (site.top / "plan.yaml").read_text()
    site.plan(text.replace("to: [env:HOOK]", "to: [env:HOOK, {run: [./page]}]"))
    base = site.top / "live/base.db"
    base.rename(site.top / "away.db")
    for _ in range(2):
        assert "not told: notify.to[1]" in site.run("backup", "base", code=4).stderr
    (site.top / "hears").touch()
    site.run("backup", "base", code=4)
    (site.top / "away.db").rename(base)
    hook.status = 500
    site.run("backup", "base")
    hook.status = 204
    for _ in range(2):
        site.run("backup", "base")
    paged = [json.loads(line)["event"] for line in (site.top / "pages").read_text().splitlines()]
    assert paged == ["failure", "recovered"]
    assert [m["event"] for m in hook.got] == ["failure", "recovered", "recovered"]


def test_a_user_in_an_address_is_said_not_to_be_sent(site, hook) -> None:
    told(site, hook)
    site.variables["HOOK"] = hook.url.replace("//", "//somebody:s3cret@")
    said = site.run("status", code=10).stderr
    assert "a user and a password in its address are not sent" in said
    assert "s3cret" not in said
    assert hook.got == []


# -- metrics --------------------------------------------------------------------------------------


def numbers(site) -> dict[tuple[str, ...], float]:
    """As Prometheus' own parser reads them: name and the values of the labels but the plan."""
    text = (site.top / "node/drctl.prom").read_text()
    return {
        (s.name, *(v for k, v in s.labels.items() if k != "plan")): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_numbers_are_left_for_a_collector_and_stay_until_they_are_known_anew(site) -> None:
    site.plan((site.top / "plan.yaml").read_text() + "metrics: {textfile: node/drctl.prom}\n")
    said = site.run("backup", "tree").stderr
    assert "the metrics were not written: " in said
    (site.top / "node").mkdir()
    site.run("backup")
    first = numbers(site)
    assert first["drctl_run_exit_code", "backup", ""] == 0
    succeeded = first["drctl_run_last_success_timestamp_seconds", "backup", ""]
    assert first["drctl_rpo_met", "tree", "offsite", "there"] == 1
    point = first["drctl_recovery_point_timestamp_seconds", "tree", "local", "here"]
    assert 0 < succeeded - point < 60
    assert first["drctl_copy_lag_seconds", "offsite", "there"] == 0
    assert first["drctl_snapshot_size_bytes", "tree"] > 700_000
    assert (site.top / "node/drctl.prom").stat().st_mode & 0o777 == 0o644

    (site.top / "live/base.db").rename(site.top / "away.db")
    site.run("backup", code=4)
    failed = numbers(site)
    assert failed["drctl_run_exit_code", "backup", ""] == 4
    assert failed["drctl_run_last_success_timestamp_seconds", "backup", ""] == succeeded
    assert failed["drctl_rpo_met", "base", "local", "here"] == 1
    saved = failed["drctl_recovery_point_timestamp_seconds", "tree", "local", "here"]
    assert saved > point  # that another asset failed makes this one no older

    plan = (site.top / "plan.yaml").read_text()
    site.plan(plan.replace("  base:", "  other:"))
    site.run("status", code=10)
    gone = numbers(site)
    assert not [key for key in gone if "base" in key]
    assert gone["drctl_rpo_met", "other", "local", "here"] == 0
    assert list((site.top / "node").iterdir()) == [site.top / "node/drctl.prom"]


def test_the_numbers_of_a_repository_that_is_gone_stay_and_grow_old(site) -> None:
    """An alert about what vanished would never fire."""
    site.plan((site.top / "plan.yaml").read_text() + "metrics: {textfile: node/drctl.prom}\n")
    (site.top / "node").mkdir()
    site.run("backup")
    before = numbers(site)
    (site.top / "local").rename(site.top / "gone")
    site.run("backup", code=5)
    assert numbers(site)["drctl_repository_reachable", "local", "here"] == 0
    site.run("status", code=11)
    after = numbers(site)
    point = ("drctl_recovery_point_timestamp_seconds", "tree", "local", "here")
    assert after[point] == before[point]
    assert after["drctl_repository_reachable", "local", "here"] == 0
    assert after["drctl_rpo_met", "tree", "local", "here"] == 0
    assert after["drctl_copy_lag_objects", "offsite", "there"] == 0

    (site.top / "gone").rename(site.top / "local")
    (site.top / "offsite").rename(site.top / "away")
    site.run("backup", "tree", code=11)
    partial = numbers(site)
    assert partial[point] > before[point]
    there = ("drctl_recovery_point_timestamp_seconds", "tree", "offsite", "there")
    assert partial[there] == before[there]


def test_a_drill_leaves_numbers_and_pages_nobody_and_a_recovery_tells(bare, hook) -> None:
    lay_out(bare, app=APP.replace("$DRCTL_DRILL", "${DRCTL_DRILL:-.}"))
    (bare.top / "node").mkdir()
    word = "    word: {notify: it is back, after: [app]}\n"
    change(bare, "  steps:\n", f"  steps:\n{word}")
    told(bare, hook, "metrics: {textfile: node/drctl.prom}\n")
    document = bare.json("drill", "far")
    assert hook.got == []
    found = numbers(bare)
    assert found["drctl_drill_passed", "far", "offsite"] == 1
    rta = found["drctl_drill_rta_seconds", "far", "offsite", ""]
    assert rta == document["timing"]["rta_seconds"]
    assert found["drctl_drill_objective_met", "far", "offsite", "", "rto"] == 1
    assert found["drctl_drill_rpa_seconds", "far", "offsite", "base"] > 0
    assert "RTA of far: unknown: needs 4 drills, has 1" in bare.run("status").stdout
    (bare.top / "offsite").rename(bare.top / "away")
    bare.run("drill", "far", code=5)
    undrilled = numbers(bare)
    assert undrilled["drctl_drill_passed", "far", "offsite"] == 0
    assert undrilled["drctl_drill_rta_seconds", "far", "offsite", ""] == rta
    (bare.top / "away").rename(bare.top / "offsite")
    hook.got.clear()

    bare.run("recover", "--yes", "--to", "back", "--mode", "planned")
    assert [(m["event"], m.get("step")) for m in hook.got] == [("step", "word")]
    assert hook.got[0]["text"].endswith("it is back")


def test_runs_side_by_side_lose_no_number(site, stop_at_end) -> None:
    (site.top / "node").mkdir()
    site.plan((site.top / "plan.yaml").read_text() + "metrics: {textfile: node/drctl.prom}\n")
    runs = [site.start("backup", name) for name in ("tree", "base", "dump")]
    stop_at_end += runs
    assert [run.wait(100) for run in runs] == [0, 0, 0]
    ended = {key[2] for key in numbers(site) if key[0] == "drctl_run_exit_code"}
    assert ended == {"tree", "base", "dump"}
