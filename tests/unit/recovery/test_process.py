"""Programs of a recovery: real ones, and what they said."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest

from drctl.clock import SystemClock
from drctl.engines.child import exit_words
from drctl.errors import StorageError
from drctl.ops.recovery.box import processes_in
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.runner import Control, Outcome


@pytest.fixture
def run(tmp_path):
    """What runs a line of shell for at most so many seconds; what it leaves behind is ended."""
    started: list[int] = []
    programs = Programs(str(tmp_path), {}, told=started.append)
    clock = SystemClock()

    def outcome(line: str, seconds: float = 60.0) -> Outcome:
        deadline = clock.monotonic_seconds() + seconds
        control = Control(clock, deadline, threading.Event(), seconds)
        return programs.run(("/bin/sh", "-c", line), {}, control)

    yield outcome
    for group in started:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _grows(path: Path) -> bool:
    before = path.stat().st_size
    end = time.monotonic() + 30
    while path.stat().st_size == before and time.monotonic() < end:
        time.sleep(0.02)
    return path.stat().st_size > before


def test_the_last_words_are_told_though_a_server_holds_the_pipe_open(run):
    outcome = run("sleep 60 & echo up; echo and running")
    assert outcome.ok
    assert outcome.facts["said"] == "up\nand running"


def test_a_server_left_in_the_background_does_not_die_of_a_pipe_that_nobody_reads(run, tmp_path):
    noise = "while echo noise; do echo . >> beats; sleep 0.01; done"
    assert run(f"({noise}) & sleep 0.2").ok
    assert _grows(tmp_path / "beats")


def test_what_failed_is_told_by_its_last_line_however_much_it_said(run):
    outcome = run("seq 100000; echo the disk is gone >&2; exit 3")
    assert not outcome.ok
    assert outcome.what == "exit status 3; it said: the disk is gone"


def test_a_program_that_a_signal_without_a_name_ended_is_told(run):
    assert run("kill -40 $$").what == "signal 40; it said nothing"
    assert run("kill -9 $$").what == "SIGKILL; it said nothing"
    assert exit_words(-40) == "was killed by signal 40"


def test_a_program_that_closed_its_output_is_waited_for(run):
    assert run("exec >&- 2>&-; sleep 0.3").ok


def test_a_program_that_hangs_is_killed_with_all_that_it_started(run, tmp_path):
    outcome = run("(while :; do echo . >> beats; sleep 0.01; done) & echo slow; sleep 60", 1.0)
    assert outcome.what == "it did not end within 1.0s and was killed; it said: slow"
    size = (tmp_path / "beats").stat().st_size
    time.sleep(0.2)
    assert (tmp_path / "beats").stat().st_size == size


KILLED = """
import os, sys, threading
from drctl.clock import SystemClock
from drctl.errors import StorageError
from drctl.ops.recovery.box import processes_in
from drctl.ops.recovery.process import Programs
from drctl.ops.recovery.runner import Control
programs = Programs(sys.argv[1], {"MARK": sys.argv[1]}, told=lambda pid: os.kill(os.getpid(), 9))
programs.run(("sh", "-c", "touch began"), {}, Control(SystemClock(), 1e9, threading.Event(), 1e9))
"""


def test_a_drctl_that_is_killed_before_it_wrote_down_what_it_started_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    end = time.monotonic() + 30
    while list(processes_in(str(tmp_path))) and time.monotonic() < end:
        time.sleep(0.02)
    assert not list(processes_in(str(tmp_path)))
    assert not (tmp_path / "began").exists()


def test_what_could_not_be_written_down_does_not_begin(tmp_path):
    def told(_: int) -> None:
        raise StorageError("the disk is full")

    control = Control(SystemClock(), 1e9, threading.Event(), 1e9)
    with pytest.raises(StorageError):
        Programs(str(tmp_path), {}, told=told).run(("sh", "-c", "touch began"), {}, control)
    time.sleep(0.2)
    assert not (tmp_path / "began").exists()


def test_what_cannot_be_run_is_told_by_its_reason(tmp_path):
    (tmp_path / "text").write_text("no program")
    control = Control(SystemClock(), 1e9, threading.Event(), 1e9)
    programs = Programs(str(tmp_path), {})
    said = [programs.run((name,), {}, control).what for name in ("./none", "./text", "no-such")]
    assert said == [
        "./none: cannot be run: No such file or directory",
        "./text: cannot be run: Permission denied",
        "no-such: cannot be run: No such file or directory",
    ]


def test_a_process_in_a_directory_whose_name_is_no_text_is_seen_and_hinders_nobody(tmp_path):
    odd = os.path.join(os.fsencode(tmp_path), b"odd-\xff")
    os.mkdir(odd)
    with subprocess.Popen(["sleep", "60"], cwd=odd) as sleeping:
        try:
            assert list(processes_in(str(tmp_path))) == [sleeping.pid]
            assert list(processes_in(str(tmp_path / "else"))) == []
        finally:
            sleeping.kill()


def test_nothing_is_run_where_it_is_barred(tmp_path):
    control = Control(SystemClock(), 1e9, threading.Event(), 1e9)
    programs = Programs(str(tmp_path), {}, barred="production is in reach")
    outcome = programs.run(("sh", "-c", "touch began"), {}, control)
    assert outcome == Outcome(False, "sh: not run: production is in reach", final=True)
    assert not (tmp_path / "began").exists()


def test_what_a_program_is_is_told_by_its_files_and_not_only_by_its_name(tmp_path):
    programs = Programs(str(tmp_path), {})
    (tmp_path / "look.sh").write_text("exit 0\n")
    digest = sha256(b"exit 0\n").hexdigest()
    assert programs.files(("sh", "./look.sh", "-x")) == {"./look.sh": digest}
    assert programs.files(("./look.sh", ".", "\0")) == {"./look.sh": digest}
    (tmp_path / "sh").write_text("not what PATH finds")
    assert programs.files(("sh", "gone.sh")) == {}
    os.truncate(tmp_path / "look.sh", (16 << 20) + 1)
    assert programs.files(("./look.sh",)) == {}
