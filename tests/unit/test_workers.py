"""The pool: a backup's threads step back, a restore's do not."""

import os
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
