"""What a benchmark starts ends with it, also when nobody could tell it to."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
STARTS = """
import subprocess, sys, time
from benchmark.ending import end_when_told, ending_with_us
end_when_told()
server = subprocess.Popen(ending_with_us(["sleep", "600"]))
try:
    print(server.pid, flush=True)
    time.sleep(600)
finally:
    print("unwound", flush=True)
"""


def killed(number: int) -> str:
    """Kills a run, waits until its server has ended, and gives what the run still said."""
    argv = [sys.executable, "-c", STARTS]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout
        server = os.pidfd_open(int(run.stdout.readline()))
        run.send_signal(number)
        assert select.select([server], [], [], 60)[0], "the server still runs"
        os.close(server)
        return run.communicate()[0]


def test_a_killed_benchmark_leaves_no_server() -> None:
    assert killed(signal.SIGKILL) == ""


def test_a_benchmark_that_is_told_to_end_unwinds() -> None:
    assert killed(signal.SIGTERM) == "unwound\n"
