"""The pool: a backup's threads step back, a restore's do not."""

import os
import subprocess
import sys
import threading
import time

import pytest

from drctl.workers import Turns, pool


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


def test_of_what_computes_no_more_is_done_at_a_time_than_there_are_turns():
    at_once, most, lock = 0, 0, threading.Lock()
    due = max(2, len(os.sched_getaffinity(0)))
    together = threading.Barrier(due)  # as many are needed to go on

    def compute(number: int) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)  # so that one too many comes in between
        together.wait(20)
        with lock:
            at_once -= 1
        return number * number

    with pool() as threads:
        turns = Turns(threads)
        works = [turns.submit(compute, number) for number in range(4 * due)]
        assert [work.result(20) for work in works] == [n * n for n in range(4 * due)]
        assert turns.submit(abs, -7).result(20) == 7  # after they had all ended
    assert most == turns.most == due


def test_who_waits_for_a_turn_can_be_cancelled_and_an_error_comes_where_it_is_waited_for():
    go_on, begun = threading.Event(), []
    with pool() as threads:
        turns = Turns(threads)
        held = [turns.submit(go_on.wait, 20) for _ in range(turns.most)]
        late = [turns.submit(begun.append, number) for number in range(3)]
        wrong = turns.submit(int, "no number")
        assert late[1].cancel()
        go_on.set()
        with pytest.raises(ValueError, match="no number"):
            wrong.result(20)
        assert all(work.result(20) for work in held)
    assert begun == [0, 2]
