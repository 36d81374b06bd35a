"""The pool: a backup's threads step back, a restore's do not."""

import os
import subprocess
import sys
import threading

from drctl.workers import pool


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_threads_that_work_behind_let_others_have_the_processor_first():
    before = _niceness()
    with pool(behind=True) as work:
        assert work.submit(_niceness).result() == min(19, before + 5)
    assert _niceness() == before


def test_threads_of_a_restore_keep_their_place():
    with pool() as work:
        assert work.submit(_niceness).result() == _niceness()


ARENAS = """\
import ctypes, threading
from drctl.workers import pool
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(4)
def take(_):
    libc.malloc(2000)
    together.wait(20)
with pool() as threads:
    list(threads.map(take, range(4)))
stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
"""


def test_threads_do_not_have_memory_of_their_own_each() -> None:
    done = subprocess.run([sys.executable, "-c", ARENAS], capture_output=True, check=True)
    assert 1 <= done.stdout.count(b"<heap nr=") <= 2
