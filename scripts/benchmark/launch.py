"""Starts one command and says what it took: `launch.py RESULT COMMAND...`.

A process of its own, and small: what a child's memory peaks at counts from its parent's. The
command ends with it.
"""

import json
import os
import sys
import time


def main(result: str, argv: list[str]) -> int:
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.execvp("setpriv", ["setpriv", "--pdeathsig", "KILL", "--", *argv])  # noqa: S606 - the command that is measured
    _, status, used = os.wait4(child, 0)
    wall = time.monotonic() - began
    with open(result, "w", encoding="utf-8") as file:
        json.dump([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], file)
    return os.waitstatus_to_exitcode(status)


sys.exit(main(sys.argv[1], sys.argv[2:]))
