"""Asks what was restored, and ends a question whose time is over, or when drctl is to end.

A question works in a thread of its own: a database that computes for ever keeps its caller in a
library, where no signal reaches it.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TypeVar

from drctl.engines.base import Standing
from drctl.errors import DrctlError
from drctl.ops.recovery.returning import View
from drctl.ops.recovery.runner import Control

_LOOK_SECONDS = 0.1
_LAST_LOOKS = 100  # for a question to end that was told to: less than a runner waits for its step

T = TypeVar("T")


def ask(
    view: View,
    control: Control,
    question: Callable[[Standing], T],
    last_looks: int = _LAST_LOOKS,
) -> T:
    """The question's answer. Raises what it raises; DrctlError, where it did not end in time: then
    its answer goes to nobody, and as long as it goes on the view is asked nothing else."""
    standing = view.standing
    if standing is None:
        raise DrctlError(view.why_down)
    answer: Future[T] = Future()
    threading.Thread(target=_answer, args=(answer, question, standing), daemon=True).start()
    try:
        while not (answer.done() or control.over()):
            wait([answer], _LOOK_SECONDS)
        why = "" if answer.done() else control.over()
    finally:
        _end(answer, standing, last_looks)
        if not answer.done():
            view.unended.append(answer)
    if why:
        raise DrctlError(why)
    return answer.result()


def _answer(answer: Future[T], question: Callable[[Standing], T], standing: Standing) -> None:
    try:
        answer.set_result(question(standing))
    except Exception as error:  # noqa: BLE001 - raised where the question was asked
        answer.set_exception(error)


def _end(answer: Future[T], standing: Standing, looks: int) -> None:
    """More than once: what is interrupted may have asked the next thing already."""
    for _ in range(looks):
        if answer.done():
            return
        with suppress(DrctlError):  # it is down already
            standing.interrupt()
        wait([answer], _LOOK_SECONDS)
